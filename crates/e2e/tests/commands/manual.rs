//! What the binary says of itself: help, colours, manual, completions, version.

use deed_e2e::server::deed;

use super::{DEED, NOWHERE, answers, fails, prints};

/// What `deed` prints with these variables set, its output being no terminal.
async fn with(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = deed(DEED);
    command.args(arguments).envs(variables.iter().copied());
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn colours_are_for_terminals_and_for_who_forces_them() {
    for arguments in [
        &["--help"][..],
        &["migrate", "up", "--help"],
        &["serve", "--nonsense"],
    ] {
        assert!(
            !with(&[], arguments).await.contains('\u{1b}'),
            "{arguments:?}"
        );
        let forced = with(&[("CLICOLOR_FORCE", "1")], arguments).await;
        assert!(forced.contains("\u{1b}["), "{arguments:?}: {forced}");
        let refused = with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], arguments).await;
        assert!(!refused.contains('\u{1b}'), "{arguments:?}: {refused}");
    }
}

#[tokio::test]
async fn a_wrong_flag_suggests_the_right_one() {
    for (arguments, right) in [
        (&["serve", "--pool-sise", "3"][..], "--pool-size"),
        (&["migrate", "up", "--dryrun"], "--dry-run"),
        (&["users", "list", "--extrenal-id", "x"], "--external-id"),
        (&["user"], "users"),
        (&["keys", "lst"], "list"),
        (&["users", "list", "--status", "activ"], "active"),
    ] {
        let said = fails(NOWHERE, 2, arguments).await;
        assert!(
            said.contains("similar") && said.contains(&format!("'{right}'")),
            "{arguments:?}: {said}"
        );
    }
}

#[tokio::test]
async fn the_manual_is_written_a_page_for_every_command() {
    let page = prints(NOWHERE, &["man"]).await;
    assert!(page.contains(".TH deed 1"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("share/man1");
    prints(NOWHERE, &["man", "--directory", target.to_str().unwrap()]).await;
    let mut names: Vec<String> = std::fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for expected in [
        "deed.1",
        "deed-serve.1",
        "deed-users-create.1",
        "deed-migrate-sql.1",
    ] {
        assert!(names.contains(&expected.to_owned()), "{names:?}");
    }
    assert_eq!(
        std::fs::read_to_string(target.join("deed.1"))
            .unwrap()
            .trim_end(),
        page.trim_end()
    );
}

#[tokio::test]
async fn completions_are_printed_for_three_shells() {
    for (shell, part) in [
        ("bash", "complete -F _deed"),
        ("zsh", "#compdef deed"),
        ("fish", "complete -c deed"),
    ] {
        let script = prints(NOWHERE, &["completions", shell]).await;
        assert!(
            script.contains(part) && script.contains("migrate"),
            "{shell}"
        );
    }
    fails(NOWHERE, 2, &["completions", "tcsh"]).await;
}

#[tokio::test]
async fn the_version_says_what_it_is_built_with_and_what_it_needs() {
    let text = prints(NOWHERE, &["version"]).await;
    let answer = answers(NOWHERE, &["version"]).await;
    let version = answer["version"].as_str().unwrap();
    assert!(text.starts_with(&format!("deed {version}\n")), "{text}");
    let newest = answer["newest_migration"].as_str().unwrap();
    assert!(text.contains(newest), "{text}");
    assert_eq!(answer["postgresql_min"], 15);
    let short = prints(NOWHERE, &["--version"]).await;
    assert_eq!(short, format!("deed {version}\n"));
}
