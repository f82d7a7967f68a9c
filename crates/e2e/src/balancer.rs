//! A load balancer: passes connections on to replicas that say that they are ready.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::client::Client;

/// How often each replica is asked, and how long it may take to answer.
const CHECK: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(2);

/// A balancer on loopback. It looks at connections only: one that is open stays where it is, whatever its replica says.
pub struct Balancer {
    /// Where it listens, as `http://address:port`.
    pub base: String,
    tasks: Vec<JoinHandle<()>>,
}

struct Replica {
    address: String,
    is_ready: bool,
}

impl Balancer {
    /// Stands before the replicas at these addresses, which may be away.
    pub async fn before(addresses: &[&str]) -> Self {
        let replicas = addresses.iter().map(|address| Replica {
            address: (*address).to_owned(),
            is_ready: true,
        });
        let replicas = Arc::new(Mutex::new(replicas.collect::<Vec<_>>()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks: Vec<_> = (0..addresses.len())
            .map(|index| tokio::spawn(watch(index, Arc::clone(&replicas))))
            .collect();
        tasks.push(tokio::spawn(async move {
            for turn in 0.. {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, order(&replicas, turn)));
                }
            }
        }));
        Self { base, tasks }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The addresses of those that are ready, beginning with another one at each turn.
fn order(replicas: &Mutex<Vec<Replica>>, turn: usize) -> Vec<String> {
    let replicas = replicas.lock().unwrap();
    let mut ready: Vec<String> = replicas
        .iter()
        .filter(|replica| replica.is_ready)
        .map(|replica| replica.address.clone())
        .collect();
    let first = turn % ready.len().max(1);
    ready.rotate_left(first);
    ready
}

async fn watch(index: usize, replicas: Arc<Mutex<Vec<Replica>>>) {
    let address = replicas.lock().unwrap()[index].address.clone();
    let client = Client::anonymous(&format!("http://{address}"));
    let mut ticks = interval(CHECK);
    loop {
        ticks.tick().await;
        let answer = tokio::time::timeout(ANSWER, client.get("/readyz").try_send()).await;
        let is_ready = matches!(answer, Ok(Ok(answer)) if answer.status == 200);
        replicas.lock().unwrap()[index].is_ready = is_ready;
    }
}

/// Passes on to the first that can be connected to; a client whom nobody takes is hung up on.
async fn pass(mut client: TcpStream, addresses: Vec<String>) {
    for address in addresses {
        if let Ok(mut replica) = TcpStream::connect(&address).await {
            let _ = replica.set_nodelay(true);
            let _ = client.set_nodelay(true);
            let _ = copy_bidirectional(&mut client, &mut replica).await;
            return;
        }
    }
}
