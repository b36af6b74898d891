//! Who guesses: waits longer and longer, alone, and learns nothing about who
//! exists.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use t4_proto::etcdserverpb::AuthenticateRequest;
use t4_proto::etcdserverpb::auth_client::AuthClient;
use t4_testkit::{Metrics, T4, poll_until_async};
use tonic::transport::{Channel, Endpoint};

use crate::session::Session;
use crate::{t4, t4_with_cost};

/// A login is the hash of a password, and little else.
const COST: &str = "11";
const LOGINS: usize = 12;
const DEADLINE: Duration = Duration::from_secs(60);

async fn with_users(t4: &T4) -> Session {
    let mut session = Session::connect(t4.endpoint()).await.expect("connect");
    session.user("root", "rootpw", &["root"]).await.expect("root");
    for user in 0..LOGINS {
        session.user(&format!("user{user}"), "userpw", &[]).await.expect("user");
    }
    session.enable().await.expect("enable");
    session
}

/// What the process has spent, in hundredths of a second.
fn cpu(t4: &mut T4) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", t4.program().pid())).expect("stat");
    // After the name, which may hold anything: user and system time are fields 14 and 15.
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// What failed logins of these users cost the server.
async fn cost(t4: &mut T4, session: &mut Session, users: impl Iterator<Item = String>) -> u64 {
    let before = cpu(t4);
    for user in users {
        let error = session.login(&user, "wrong").await.expect_err("wrong");
        let told = "etcdserver: authentication failed, invalid user ID or password";
        assert!(format!("{error:?}").contains(told), "{error:?}");
    }
    cpu(t4) - before
}

// The work, not the time: nothing else on the machine changes it.
#[tokio::test]
async fn unknown_users_cost_as_much_as_wrong_passwords() {
    let mut t4 = t4_with_cost(COST);
    let mut session = with_users(&t4).await;
    let known = cost(&mut t4, &mut session, (0..LOGINS).map(|n| format!("user{n}"))).await;
    let unknown = cost(&mut t4, &mut session, (0..LOGINS).map(|n| format!("nobody{n}"))).await;
    println!("{LOGINS} failed logins: known users {known}0 ms, unknown users {unknown}0 ms");
    assert!(known >= LOGINS as u64, "a hash was computed each time: {known}");
    assert!(unknown * 4 >= known * 3 && unknown * 3 <= known * 4, "{known} and {unknown}");
}

/// Names that are tried at once from one address.
const CROWD: usize = 100;

#[tokio::test]
async fn a_crowd_of_guesses_holds_up_nobody_elsewhere() {
    let t4 = t4_with_cost(COST);
    let mut session = with_users(&t4).await;
    let failures = || {
        let counted = Metrics::read(t4.metrics_endpoint()).expect("metrics");
        counted.sample("t4_auth_attempts_total{result=\"failure\"}").expect("it is counted")
    };
    let guessing = from(Ipv4Addr::new(127, 0, 0, 2), &t4).await;
    let crowd: Vec<_> = (0..CROWD)
        .map(|guess| {
            let mut client = guessing.clone();
            let request = login(&format!("name{guess}"), "guess");
            tokio::spawn(async move { client.authenticate(request).await.map(drop) })
        })
        .collect();
    poll_until_async("the crowd is being served", DEADLINE, || async {
        anyhow::ensure!(failures() >= 2, "not yet");
        Ok(())
    })
    .await
    .expect("failures");
    let before = failures();
    session.login("root", "rootpw").await.expect("root from another address");
    let served = failures() - before;
    println!("{served} of {CROWD} guesses were served before root");
    // One is under way, and one more may be before its turn; the rest is the
    // time that it takes to ask.
    assert!(served <= 10, "{served} of {CROWD} were served first");
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Where on this machine a connection comes from.
async fn from(address: Ipv4Addr, t4: &T4) -> AuthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", t4.endpoint())).expect("an endpoint");
    let endpoint = endpoint.local_address(Some(IpAddr::V4(address)));
    AuthClient::new(endpoint.connect().await.expect("connect"))
}

fn login(name: &str, password: &str) -> AuthenticateRequest {
    AuthenticateRequest { name: name.to_owned(), password: password.to_owned() }
}

#[tokio::test]
async fn who_guesses_waits_and_nobody_else_does() {
    let t4 = t4(&[]);
    let mut session = with_users(&t4).await;
    let guesser = Ipv4Addr::new(127, 0, 0, 2);
    let mut guessing = from(guesser, &t4).await;
    let begun = Instant::now();
    for guess in 0..8 {
        guessing.authenticate(login("root", &format!("guess{guess}"))).await.expect_err("wrong");
    }
    // Three are free; then 250 ms, doubled each time: before the 5th, 6th, 7th, 8th.
    let waits = Duration::from_millis(250 + 500 + 1000 + 2000);
    assert!(begun.elapsed() >= waits, "{:?}", begun.elapsed());

    // Now 4 s, in which a busy machine too comes to what follows. For a right password
    // as well, and more connections do not help.
    let waiting: Vec<_> = ["guess", "rootpw"]
        .into_iter()
        .map(|password| {
            let (mut client, request) = (guessing.clone(), login("root", password));
            tokio::spawn(async move { client.authenticate(request).await.map(drop) })
        })
        .collect();
    let mut other_way = from(guesser, &t4).await;
    let again = tokio::spawn(async move { other_way.authenticate(login("root", "guess")).await });
    // Others of the same address, and the same user from elsewhere.
    guessing.authenticate(login("user1", "userpw")).await.expect("another user");
    session.login("root", "rootpw").await.expect("root from another address");
    assert!(waiting.iter().all(|login| !login.is_finished()) && !again.is_finished());
    let counted = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    let failures = counted.sample("t4_auth_attempts_total{result=\"failure\"}");
    assert_eq!(failures, Some(8), "nobody who waits was looked at");
    again.abort();

    let mut answers = Vec::new();
    for login in waiting {
        answers.push(login.await.expect("a task").is_ok());
    }
    assert_eq!(answers, [false, true], "after the wait the password decides");
}
