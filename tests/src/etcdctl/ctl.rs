//! `etcdctl` against one server, and the transcript of what it was asked.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use t4_proto::etcdserverpb::{AlarmRequest, MemberListRequest, StatusRequest};
use t4_testkit::{EtcdDistro, Rpc, Scratch, poll_until};

use super::call::{Call, Ended};
use super::names::Names;

const DEADLINE: Duration = Duration::from_secs(60);

/// One step of a scenario, comparable between servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was asked, as typed.
    pub command: String,
    /// What was printed, and the exit code; with names.
    pub said: String,
}

/// A command that runs on while others are given.
#[derive(Debug)]
pub struct Background {
    command: String,
    call: Call,
}

impl Background {
    /// Writes to its input.
    ///
    /// # Panics
    /// When it has ended.
    pub fn say(&mut self, text: &str) {
        self.call.say(text).expect(&self.command);
    }

    /// Blocks until it has printed `text`.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn see(&mut self, text: &str) {
        self.call.see(text).expect(&self.command);
    }
}

/// `etcdctl` against one server.
#[derive(Debug)]
pub struct Ctl {
    distro: EtcdDistro,
    endpoint: String,
    scratch: Scratch,
    runtime: tokio::runtime::Runtime,
    rpc: Rpc,
    started: usize,
    /// The version that the server says it has.
    pub version: String,
    /// What is replaced in the transcript.
    pub names: Names,
    /// What was done so far.
    pub transcript: Vec<Step>,
}

impl Ctl {
    /// For the server at `host:port`. Asks it for its ids and addresses.
    ///
    /// # Errors
    /// When there is no etcdctl, or the server does not answer.
    pub fn new(endpoint: &str) -> anyhow::Result<Ctl> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (rpc, names, version) = runtime.block_on(async {
            let mut rpc = Rpc::connect(endpoint).await?;
            let (names, version) = learn(&mut rpc, endpoint).await?;
            anyhow::Ok((rpc, names, version))
        })?;
        Ok(Ctl {
            distro: EtcdDistro::find()?,
            endpoint: endpoint.to_owned(),
            scratch: Scratch::new("etcdctl")?,
            runtime,
            rpc,
            started: 0,
            version,
            names,
            transcript: Vec::new(),
        })
    }

    /// Runs a command that must succeed; words are split at blanks, `''` is an
    /// empty one. Gives what it printed, as it is.
    ///
    /// # Panics
    /// When it fails, or does not end.
    pub fn ok(&mut self, command: &str) -> String {
        let (out, code) = self.run(command, "");
        assert_eq!(code, 0, "{command}: {:#?}", self.transcript.last());
        out
    }

    /// Runs a command that must fail.
    ///
    /// # Panics
    /// When it succeeds, or does not end.
    pub fn fails(&mut self, command: &str) {
        let (_, code) = self.run(command, "");
        assert_ne!(code, 0, "{command}: {:#?}", self.transcript.last());
    }

    /// Runs a command with this input; gives what it printed and its exit code.
    ///
    /// # Panics
    /// When it does not end within five minutes.
    pub fn run(&mut self, command: &str, input: &str) -> (String, i32) {
        let mut call = self.start(command).expect(command);
        if !input.is_empty() {
            call.say(input).expect(command);
        }
        let ended = call.wait().expect(command);
        self.note(command, &ended);
        (ended.out, ended.code)
    }

    /// Starts a command that runs on.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn begin(&mut self, command: &str) -> Background {
        let call = self.start(command).expect(command);
        Background { command: command.to_owned(), call }
    }

    /// Ends a running command by a signal, and notes what it printed.
    ///
    /// # Panics
    /// When it does not end within five minutes.
    pub fn end(&mut self, background: Background) {
        let Background { command, call } = background;
        call.end().expect(&command);
        let ended = call.wait().expect(&command);
        self.note(&format!("{command} (ended)"), &ended);
    }

    /// Waits for a running command to end by itself, and notes what it printed.
    ///
    /// # Panics
    /// When it does not end within five minutes.
    pub fn finish(&mut self, background: Background) {
        let Background { command, call } = background;
        let ended = call.wait().expect(&command);
        self.note(&command, &ended);
    }

    /// Repeats a command that leaves no trace in the store, without noting it,
    /// until it prints `text`.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn until(&mut self, command: &str, text: &str) {
        let seen = poll_until(&format!("{command} prints {text:?}"), DEADLINE, || {
            let out = self.start(command)?.wait()?.out;
            if out.contains(text) { Ok(()) } else { bail!("{out:?}") }
        });
        seen.expect(command);
    }

    /// Grants a lease that is called `name` from now on; gives its id as printed.
    ///
    /// # Panics
    /// When the server does not grant it.
    pub fn grant(&mut self, ttl: u32, name: &str) -> String {
        let out =
            self.start(&format!("lease grant {ttl}")).and_then(Call::wait).expect("grant").out;
        let id = out.split_whitespace().nth(1).expect("an id").to_owned();
        self.names.call_id(u64::from_str_radix(&id, 16).expect("hexadecimal"), name);
        self.names.call(&id, name);
        let said = self.names.apply(&out);
        self.transcript.push(Step { command: format!("lease grant {ttl}"), said });
        id
    }

    /// Raises the alarm NOSPACE, which no etcdctl command does.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn raise_no_space(&mut self) {
        const ACTIVATE: i32 = 1;
        const NOSPACE: i32 = 1;
        let rpc = &mut self.rpc;
        let raised = self.runtime.block_on(async {
            let status = rpc.maintenance.status(StatusRequest {}).await?.into_inner();
            let member_id = status.header.context("a header")?.member_id;
            let request = AlarmRequest { action: ACTIVATE, member_id, alarm: NOSPACE };
            anyhow::Ok(rpc.maintenance.alarm(request).await?)
        });
        raised.expect("raise the alarm");
    }

    /// The current revision, asked for without leaving a trace.
    ///
    /// # Panics
    /// When the server does not tell.
    pub fn revision(&mut self) -> i64 {
        let rpc = &mut self.rpc;
        let status = self.runtime.block_on(rpc.maintenance.status(StatusRequest {}));
        status.expect("status").into_inner().header.expect("a header").revision
    }

    /// The address that it speaks to.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn start(&mut self, command: &str) -> anyhow::Result<Call> {
        self.started += 1;
        let mut etcdctl = Command::new(self.distro.etcdctl());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCDCTL") {
                etcdctl.env_remove(name);
            }
        }
        // The default of five seconds is for people; a busy machine needs more.
        etcdctl.args(["--endpoints", &self.endpoint, "--command-timeout", "30s"]);
        etcdctl.args(command.split_whitespace().map(|word| if word == "''" { "" } else { word }));
        Call::start(etcdctl, self.scratch.path(), &format!("{:03}", self.started))
    }

    fn note(&mut self, command: &str, ended: &Ended) {
        let (out, err) = (self.names.apply(&ended.out), self.names.apply(&ended.err));
        let said = format!("{out}{err}[{}]", ended.code);
        self.transcript.push(Step { command: self.names.apply(command).trim_end().into(), said });
    }
}

async fn learn(rpc: &mut Rpc, endpoint: &str) -> anyhow::Result<(Names, String)> {
    let request = MemberListRequest { linearizable: true };
    let members = rpc.cluster.member_list(request).await?.into_inner();
    let header = members.header.context("a header")?;
    let status = rpc.maintenance.status(StatusRequest {}).await?.into_inner();
    let mut names = Names::default();
    names.call_id(header.cluster_id, "CLUSTER");
    names.call_id(header.member_id, "MEMBER");
    for member in &members.members {
        names.call(&member.name, "NAME");
        names.call(&member.peer_urls.join(","), "PEER-URL");
        names.call(&member.client_urls.join(","), "CLIENT-URL");
    }
    names.call(endpoint, "ENDPOINT");
    Ok((names, status.version))
}
