//! Settings, addresses and directories that are right or wrong; readiness.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use t4_testkit::{Program, Scratch, T4, T4Options, free_port};

use crate::{DEADLINE, READY, binary, refused_start, stderr, stdout, t4};

#[test]
fn wrong_settings_are_told_and_nothing_is_begun() {
    let scratch = Scratch::new("cli").expect("scratch");
    let dir = scratch.join("data");
    let dir_flag = format!("--data-dir={}", dir.display());
    let config = scratch.join("t4.yaml");
    fs::write(&config, "listen: 127.0.0.1:1\nio-thread: 2\n").expect("write");
    let config_flag = format!("--config-file={}", config.display());
    let cases = [
        ("--listen=example.com:1", "--listen: \"example.com:1\" is not allowed"),
        ("--quota-backend-bytes=2G", "--quota-backend-bytes: \"2G\" is not allowed"),
        ("--listen-client-urls=http://x:1", "use --listen, or 't4 etcd', which takes etcd's flags"),
        (
            "--peer-listen=0.0.0.0:3380",
            "--peer-listen: \"0.0.0.0:3380\" is not allowed: this version",
        ),
        ("--advertise-peer=a:3380", "--advertise-peer: \"a:3380\" is not allowed: this version"),
        ("--s3-bucket=b", "unexpected argument '--s3-bucket'"),
        ("extra", "unexpected argument 'extra'"),
        (&config_flag, "line 2: the key \"io-thread\" is not known; did you mean \"io-threads\"?"),
        ("--config-file=/nowhere", "--config-file: /nowhere cannot be read"),
    ];
    for (flag, expected) in cases {
        let output = t4(&["run", &dir_flag, flag]);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{flag}: {told}");
        assert!(told.contains(expected), "{flag}: {told}");
        assert!(output.stdout.is_empty(), "{flag}: {}", stdout(&output));
    }
    let output = binary().args(["run", &dir_flag]).env("T4_IO_THREADS", "x").output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.contains("(from the environment variable T4_IO_THREADS)"), "{told}");
    assert!(!dir.exists(), "a directory was made");

    for unknown in [&["gc"][..], &[], &["inspect"], &["inspect", "diff"]] {
        assert_eq!(t4(unknown).status.code(), Some(2), "{unknown:?}");
    }
}

#[test]
fn version_and_help() {
    let json = stdout(&t4(&["version", "--json"]));
    for field in ["\"version\":\"", "\"etcd_api\":\"3.", "\"target\":\""] {
        assert!(json.contains(field), "{json}");
    }
    let text = stdout(&t4(&["version"]));
    assert!(text.starts_with("t4 version: ") && text.contains("\netcd API: 3."), "{text}");
    let help = t4(&["run", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("[env: T4_DATA_DIR]"));
}

// Starts `t4 run` with settings of all three sources.
fn with_all_sources(scratch: &Scratch, format: &str) -> (Program, u16) {
    let port = free_port();
    let config = scratch.join("t4.yaml");
    let text = format!(
        "# over this file, the environment\ndata-dir: {}\nlisten: [\"127.0.0.1:{port}\"]\n\
         node-id: from-file\nlog-level: error\nmetrics-addr: \"127.0.0.1:0\"\n",
        scratch.join("data").display()
    );
    fs::write(&config, text).expect("write");
    let mut command = binary();
    command
        .args(["run", "--log-format", format])
        .env("T4_CONFIG_FILE", config)
        .env("T4_NODE_ID", "from-environment")
        .env("T4_LOG_FORMAT", "nonsense, but the flag wins")
        .env("T4_LISTEN", "");
    let program = Program::start("t4", command, &scratch.join("t4.log")).expect("start");
    (program, port)
}

#[test]
fn one_line_tells_readiness_whatever_the_log_level() {
    for (format, expected) in
        [("text", "; metrics on http://127.0.0.1:"), ("json", "\"metrics\":\"http://")]
    {
        let scratch = Scratch::new("cli").expect("scratch");
        let (mut program, port) = with_all_sources(&scratch, format);
        let line = program.wait_for_line(READY, DEADLINE).expect("ready");
        assert!(line.contains(&format!("http://127.0.0.1:{port}")), "{line}");
        assert!(line.contains(expected) && !line.contains("127.0.0.1:0"), "{line}");
        let level = if format == "text" { "Z  INFO " } else { "\"level\":\"INFO\"" };
        assert!(line.contains(level) && line.contains("20"), "a time and a level: {line}");
        program.terminate().expect("signal");
        assert_eq!(program.wait(DEADLINE).expect("end").code(), Some(0));
        assert_eq!(program.log(), [line], "nothing else is said at the level error");
        let dir = format!("--data-dir={}", scratch.join("data").display());
        let meta = stdout(&t4(&["inspect", "meta", &dir]));
        assert!(meta.contains(": from-environment at http://127.0.0.1:"), "{meta}");
    }
}

#[test]
fn a_directory_has_one_server() {
    let mut t4 = T4::start(T4Options::default()).expect("start");
    let told = refused_start(&t4.data_dir());
    assert!(told.contains("is in use by another process"), "{told}");
    assert!(t4.program().is_running().expect("asked"));
}

#[test]
fn a_port_in_use_is_told_before_the_directory_is_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let scratch = Scratch::new("cli").expect("scratch");
    let dir = scratch.join("data");
    let dir_flag = format!("--data-dir={}", dir.display());
    let output = t4(&["run", "--metrics-addr=", &dir_flag, "--listen", &address]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("cannot listen on http://{address}")), "{told}");
    assert_eq!(told.matches("Address already in use").count(), 1, "{told}");
    assert!(!dir.exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_told_with_its_flag() {
    let scratch = Scratch::new("cli").expect("scratch");
    fs::write(scratch.join("file"), b"").expect("write");
    // Not even root makes directories in either.
    for impossible in [scratch.join("file").join("data"), PathBuf::from("/proc/t4-data")] {
        let told = refused_start(&impossible);
        let expected = format!("cannot create the directory {}", impossible.display());
        assert!(told.contains(&expected) && told.contains("--data-dir"), "{told}");
    }
    let deep = scratch.join("a").join("b");
    let mut command = binary();
    let listen = format!("127.0.0.1:{}", free_port());
    command.args(["run", "--metrics-addr=off", "--listen", &listen, "--data-dir"]).arg(&deep);
    let mut program = Program::start("t4", command, &scratch.join("t4.log")).expect("start");
    program.wait_for_line(READY, DEADLINE).expect("missing directories are made");
    program.interrupt().expect("signal");
    assert_eq!(program.wait(DEADLINE).expect("end").code(), Some(0), "SIGINT stops it too");
}

#[test]
fn a_supervisor_is_told() {
    let scratch = Scratch::new("cli").expect("scratch");
    // Names of sockets are short.
    let name = format!("t4-supervisor-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let supervisor = UnixDatagram::bind_addr(&address).expect("bind");
    supervisor.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let told = || {
        let mut buffer = [0; 128];
        let length = supervisor.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = binary();
    command
        .args(["run", "--metrics-addr=", "--listen", &format!("127.0.0.1:{}", free_port())])
        .arg("--data-dir")
        .arg(scratch.join("data"))
        .env("NOTIFY_SOCKET", format!("@{name}"));
    let mut program = Program::start("t4", command, &scratch.join("t4.log")).expect("start");
    assert_eq!(told(), "READY=1");
    let pid = Pid::from_raw(i32::try_from(program.pid()).expect("an id")).expect("an id");
    kill_process(pid, Signal::HUP).expect("signal");
    let reloading = told();
    let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(at.parse::<u64>().is_ok_and(|at| at > 0), "{reloading}");
    assert_eq!(told(), "READY=1");
    program.terminate().expect("signal");
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(program.wait(DEADLINE).expect("end").code(), Some(0));
}

#[test]
fn somebody_elses_directory_is_refused_by_both_commands_and_left_alone() {
    let scratch = Scratch::new("cli").expect("scratch");
    let of_etcd = scratch.join("infra0");
    fs::create_dir_all(of_etcd.join("member/wal")).expect("make");
    let foreign = scratch.join("home");
    fs::create_dir(&foreign).expect("make");
    fs::write(foreign.join("letter.txt"), b"dear").expect("write");
    let a_file = scratch.join("file");
    fs::write(&a_file, b"").expect("write");
    for (dir, expected) in [
        (&of_etcd, "holds the data of an etcd, in its own format: use another directory"),
        (&foreign, "is not a T4 data directory: it holds letter.txt and no IDENTITY"),
        (&a_file, "is not a directory"),
    ] {
        let told = refused_start(dir);
        assert!(told.contains(expected), "{told}");
        // With certificates that a start would make in it.
        let address = format!("--listen=127.0.0.1:{}", free_port());
        let output = t4(&[
            "run",
            "--auto-tls",
            "--metrics-addr=",
            &address,
            &format!("--data-dir={}", dir.display()),
        ]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        // Not etcd's own port, which another program may have.
        let url = format!("http://127.0.0.1:{}", free_port());
        let output = t4(&[
            "etcd",
            "--data-dir",
            dir.to_str().expect("UTF-8"),
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
        ]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        let looked = t4(&["inspect", "meta", &format!("--data-dir={}", dir.display())]);
        assert_eq!(looked.status.code(), Some(1), "{}", stderr(&looked));
    }
    let left = |dir: &PathBuf| fs::read_dir(dir).expect("list").count();
    assert_eq!((left(&of_etcd), left(&foreign)), (1, 1), "something was made");
}

#[test]
fn check_says_what_counts_and_whether_it_would_start() {
    let scratch = Scratch::new("cli").expect("scratch");
    let dir = scratch.join("data");
    let dir_flag = format!("--data-dir={}", dir.display());
    let check = |flags: &[&str]| t4(&[&["run", "--check", &dir_flag], flags].concat());
    let sound = check(&["--listen=127.0.0.1:1"]);
    assert_eq!(sound.status.code(), Some(0), "{}", stderr(&sound));
    let text = stdout(&sound);
    assert!(text.contains("listen: 127.0.0.1:1  # from the command line\n"), "{text}");
    assert!(text.contains("# max-txn-ops: 128 (default)\n"), "{text}");
    assert!(stderr(&sound).contains("the settings are sound"), "{}", stderr(&sound));
    assert!(!dir.exists(), "a directory was made");

    assert_eq!(check(&["--max-txn-ops=x"]).status.code(), Some(2));
    let missing = check(&["--client-tls-cert=/nowhere.crt", "--client-tls-key=/nowhere.key"]);
    assert_eq!(missing.status.code(), Some(1), "{}", stderr(&missing));
    assert!(stderr(&missing).contains("/nowhere.crt"), "{}", stderr(&missing));
    fs::create_dir(&dir).expect("make");
    fs::write(dir.join("x"), b"").expect("write");
    assert_eq!(check(&[]).status.code(), Some(1));

    // Beside the server that runs there.
    let server = T4::start(T4Options::default()).expect("start");
    let beside = t4(&["run", "--check", &format!("--data-dir={}", server.data_dir().display())]);
    assert_eq!(beside.status.code(), Some(0), "{}", stderr(&beside));
    assert!(stderr(&beside).contains("has data"), "{}", stderr(&beside));
}

#[test]
fn what_is_open_to_other_machines_is_warned_of() {
    let scratch = Scratch::new("cli").expect("scratch");
    for (address, is_open) in [("0.0.0.0", true), ("127.0.0.1", false)] {
        let mut command = binary();
        let listen = format!("--listen={address}:{}", free_port());
        command.args(["run", "--metrics-addr=", &listen, "--data-dir"]).arg(scratch.join(address));
        let log = scratch.join(&format!("{address}.log"));
        let mut program = Program::start("t4", command, &log).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        program.terminate().expect("signal");
        assert_eq!(program.wait(DEADLINE).expect("end").code(), Some(0));
        let said = program.log().join("\n");
        assert_eq!(said.contains("OPEN TO OTHER MACHINES"), is_open, "{said}");
    }
}

#[test]
fn shells_and_man_take_what_is_made_for_them() {
    for shell in ["bash", "zsh", "fish"] {
        let script = t4(&["completion", shell]);
        assert_eq!(script.status.code(), Some(0), "{}", stderr(&script));
        let script = stdout(&script);
        for word in ["inspect", "--quota-backend-bytes", "init-ca"] {
            let bare = word.trim_start_matches('-');
            assert!(script.contains(bare), "{shell}: {word}");
        }
    }
    // As bash completes it.
    let script = "source /dev/stdin; COMP_WORDS=(t4 run --quota); COMP_CWORD=2; _t4 t4 --quota run; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = std::process::Command::new("bash");
    let mut bash = bash
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("bash");
    let completion = t4(&["completion", "bash"]).stdout;
    std::io::Write::write_all(&mut bash.stdin.take().expect("a pipe"), &completion).expect("write");
    let completed = bash.wait_with_output().expect("bash");
    assert_eq!(stdout(&completed), "--quota-backend-bytes\n");

    let scratch = Scratch::new("cli").expect("scratch");
    let dir = scratch.join("man1");
    let made = t4(&["man", "--dir", dir.to_str().expect("UTF-8")]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(stdout(&made).lines().count() > 10, "{}", stdout(&made));
    for (page, words) in
        [("t4-run.1", "quota\\-backend\\-bytes"), ("t4-certs-verify.1", "\\-\\-host")]
    {
        let text = fs::read_to_string(dir.join(page)).expect(page);
        assert!(text.starts_with(".ie") && text.contains(words), "{page}: {text}");
    }
    assert!(stdout(&t4(&["man"])).contains(".TH t4 1"));
}
