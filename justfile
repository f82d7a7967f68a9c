# Each recipe is one line; anything longer is a task of `cargo xtask`.

# List the recipes
default:
    @just --list

# Run the server with a private PostgreSQL
dev *arguments:
    cargo xtask dev {{arguments}}

# Run all tests on a private PostgreSQL
test *arguments:
    cargo xtask test {{arguments}}

# Kill servers, workers and connections while an oracle watches
chaos *arguments:
    cargo xtask chaos {{arguments}}

# Let strict judges look at the HTTP interface
conformance *arguments:
    cargo xtask conformance {{arguments}}

# Load on a release build, and what it measures
bench *arguments:
    cargo xtask bench {{arguments}}

# Check format, lints and tidiness
check:
    cargo xtask check

# Format the code
fmt:
    cargo xtask fmt

# Run clippy; warnings are errors
lint:
    cargo xtask lint

# Check edges, generated documents, migrations and names
tidy:
    cargo xtask tidy

# Build the crates' documentation
docs:
    cargo xtask docs

# Check the dependencies' licences, sources and advisories
deny:
    cargo xtask deny

# Show the pages to a browser, and measure streams behind proxies
browser:
    cargo xtask browser

# Load the completions in real shells, and render the manual
shells:
    cargo xtask shells

# Make clients from the OpenAPI document, and try them on a server
clients:
    cargo xtask clients

# Write the OpenAPI document and the problems' pages anew
api:
    cargo xtask openapi

# Build the .deb, the archive, the bill of materials and the checksums
package *arguments:
    cargo xtask package {{arguments}}

# Try the .deb and the image's files in a chroot; needs root
package-test *arguments:
    cargo xtask package-test {{arguments}}

# Run all that CI runs
ci:
    .ci/run
