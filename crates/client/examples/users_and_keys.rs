//! Registers a user and gives it a key that may perform actions and nothing else.
//!
//! The key in `DEED_API_KEY` needs the scopes `users:write`, `keys:write` and `users:act_as` besides those that it gives
//! away; the root key has them all.
//!
//! `DEED_API_KEY=… cargo run -p deed-client --example users_and_keys -- ada@example.com`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "an example is a program of its own"
)]

use std::error::Error;

use deed_client::Client;
use deed_client::api::api_key::{ApiKeyQuery, CreateApiKey};
use deed_client::api::user::CreateUser;
use futures_util::TryStreamExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DEED_URL").unwrap_or("http://127.0.0.1:8080".to_owned());
    let key = std::env::var("DEED_API_KEY").map_err(|_| "set DEED_API_KEY")?;
    let operator = Client::builder(&url).api_key(key).build()?;

    let email = std::env::args()
        .nth(1)
        .unwrap_or("ada@example.com".to_owned());
    let ada = CreateUser {
        email,
        name: "Ada".to_owned(),
        password: "correct horse battery staple".to_owned(),
        external_id: None,
    };
    let ada = match operator.create_user(&ada).await {
        Ok(user) => user,
        // The codes to program against are those of the pages under `/problems`.
        Err(error) if error.code() == Some("user_already_exists") => {
            eprintln!("there is a user with this address already");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    println!("user {}", ada.id);

    let issued = operator
        .as_user(ada.id)
        .create_api_key(&CreateApiKey {
            name: "first".to_owned(),
            scopes: vec!["actions:read".to_owned(), "actions:write".to_owned()],
            expires_at: None,
        })
        .await?;
    // This is the only time that the secret is shown.
    let client = Client::builder(&url).api_key(issued.secret).build()?;
    let me = client.get_me().await?;
    println!("{} may {}", me.user.email, me.scopes.join(", "));

    let keys = operator
        .as_user(ada.id)
        .list_api_keys(&ApiKeyQuery::default())?;
    let mut keys = std::pin::pin!(keys.all());
    while let Some(key) = keys.try_next().await? {
        println!(
            "key {} {:?}, revoked: {}",
            key.id,
            key.name,
            key.revoked_at.is_some()
        );
    }
    Ok(())
}
