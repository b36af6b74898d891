//! Parts of a directory that are gone, or that are something else than files: the start
//! is refused with the name of the part, and nothing is made or waited for.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use t4_node::{Node, Offline, OpenError, verify};

use crate::mutation::{is_slack, write};
use crate::{DEADLINE, config, make};

#[tokio::test]
async fn a_directory_without_its_key_space_is_refused_and_left_alone() {
    let scratch = tempfile::tempdir().expect("scratch");
    let (files, _) = make(&scratch.path().join("made")).await;
    let dir = scratch.path().join("lost");
    fs::create_dir(&dir).expect("make");
    write(&dir, &files);
    fs::remove_dir_all(dir.join("state")).expect("there");

    let manifest = dir.join("state/MANIFEST");
    for _ in 0..2 {
        let refused = Node::open(config(&dir)).await.err().expect("refused");
        let OpenError::StateLost { path, first } = &refused else { panic!("{refused}") };
        assert!(*path == manifest && first.0 > 1, "{refused}");
        assert!(!manifest.exists(), "the next start would take it for a new store");
        let looked = Offline::open(&dir).err().expect("refused");
        assert_eq!(looked.to_string(), refused.to_string());
        assert!(!verify(&dir).expect("verify").faults.is_empty());
    }
    // It is well when the key space is there again.
    write(&dir, &files);
    Node::open(config(&dir)).await.expect("open").stop().await;
}

#[tokio::test]
async fn what_is_no_file_is_refused_and_not_waited_for() {
    let scratch = tempfile::tempdir().expect("scratch");
    let (files, _) = make(&scratch.path().join("made")).await;
    for (number, name) in files.keys().enumerate() {
        if is_slack(name) || name.ends_with("LOCK") {
            continue;
        }
        let dir = scratch.path().join(format!("{number}"));
        fs::create_dir(&dir).expect("make");
        write(&dir, &files);
        fs::remove_file(dir.join(name)).expect("there");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, dir.join(name), FileType::Fifo, mode, 0).expect("a FIFO");

        let at = dir.clone();
        let looking = tokio::task::spawn_blocking(move || verify(&at).expect("verify").faults);
        let faults = tokio::time::timeout(DEADLINE, looking).await.expect("in time").expect("done");
        assert!(!faults.is_empty(), "{}", name.display());
        let opening = tokio::time::timeout(DEADLINE, Node::open(config(&dir))).await;
        let refused = opening.expect("in time").err().expect("refused").to_string();
        let file = name.file_name().expect("a file").to_string_lossy();
        assert!(refused.contains(&*file), "{}: {refused}", name.display());
    }
}
