//! `x2i pull` against a server that plays the Hugging Face Hub: what it downloads, with which faults it goes
//! on, and what it refuses.

#![cfg(all(unix, feature = "hub"))]

mod hub;
mod program;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hub::pulling::Pulling;
use hub::{COMMIT, Faults, Host, REPOSITORY};
use program::{Run, names};
use serde_json::Value;

/// The largest file of the repository, of several parts.
const LARGE: &str = "encoder.gguf";
/// Every run ends long before.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_model_is_pulled_once_and_paints_without_the_network() {
    let pulling = Pulling::new();
    let run = pulling.pull().succeeded();
    assert!(
        run.stderr
            .contains("6 files, 16.0 MB; 16.0 MB to download to "),
        "{}",
        run.stderr
    );
    assert!(run.stdout.contains(COMMIT), "{}", run.stdout);
    pulling.is_whole();
    assert_eq!(pulling.server.sent(), pulling.weights());
    let ranges = pulling
        .server
        .asked()
        .iter()
        .filter(|asked| asked.host == Host::Cdn)
        .count();
    assert!(ranges > 8, "{ranges} ranges");
    let again = pulling.pull().succeeded();
    assert!(again.stderr.contains("all here"), "{}", again.stderr);
    assert_eq!(pulling.server.sent(), 0);
    pulling.server.asked();
    let paint = [
        "generate", "an apple", "--model", REPOSITORY, "--device", "cpu", "--steps", "1", "--seed",
        "1",
    ];
    pulling.run(&paint).succeeded();
    let at_commit = format!("hf:{REPOSITORY}@{COMMIT}");
    pulling.run(&["doctor", "--model", &at_commit]).succeeded();
    pulling.run(&["pull", REPOSITORY, "--offline"]).succeeded();
    assert!(pulling.server.asked().is_empty());
    let painted = fs::read(pulling.program.path("out.png")).unwrap();
    pulling
        .run(&[
            "generate", "an apple", "--device", "cpu", "--steps", "1", "--seed", "1",
        ])
        .succeeded();
    let pixels = |png: &[u8]| image::load_from_memory(png).unwrap().into_rgb8();
    let embedded = fs::read(pulling.program.path("out.png")).unwrap();
    assert!(
        pixels(&painted) == pixels(&embedded),
        "it is the same model"
    );
}

#[test]
fn a_model_that_is_not_here_is_pulled_by_the_flag_and_never_offline() {
    let pulling = Pulling::new();
    let paint = [
        "generate", "an apple", "--model", REPOSITORY, "--device", "cpu", "--steps", "1",
    ];
    let refused = [
        "--model: there is no folder x2i/emoji",
        "network",
        "switched off (offline)",
    ];
    pulling
        .run(&[&paint[..], &["--offline"]].concat())
        .refused(&refused);
    let offline = pulling
        .command(&paint)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    Run::new(offline).refused(&refused);
    pulling
        .run(&["pull", REPOSITORY, "--offline"])
        .refused(&["hf:x2i/emoji", "offline"]);
    assert!(
        pulling.server.asked().is_empty(),
        "nothing is asked offline"
    );
    let painted = pulling.run(&paint).succeeded();
    assert!(
        painted.stderr.contains("16.0 MB to download to "),
        "{}",
        painted.stderr
    );
    pulling.is_whole();
    let unknown = ["generate", "x", "--model", "x2i/none"];
    pulling.run(&unknown).refused(&[
        "there is no folder x2i/none",
        "there is no repository",
        "/x2i/none",
    ]);
}

#[test]
fn a_dry_run_and_json_tell_the_plan() {
    let pulling = Pulling::new();
    let run = pulling.run(&["pull", REPOSITORY, "--dry-run"]).succeeded();
    assert!(
        run.stdout.contains("  encoder.gguf, 7.7 MB\n"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("other files are left out"),
        "{}",
        run.stdout
    );
    assert_eq!(pulling.server.sent(), 0);
    pulling.has_nothing();
    let run = pulling
        .run(&["pull", "hf:x2i/emoji:*.json", "--json"])
        .succeeded();
    let events: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["type"], "plan");
    assert_eq!(events[0]["files"].as_array().unwrap().len(), 2);
    assert_eq!(events.last().unwrap()["type"], "pulled");
    assert_eq!(names(&pulling.snapshot()), ["model.json", "tokenizer.json"]);
    let paint = ["generate", "x", "--model", REPOSITORY, "--device", "cpu"];
    let rest = [
        "the cache has a part of x2i/emoji",
        "`x2i pull x2i/emoji` gets the rest",
        ".gguf: file not found",
    ];
    pulling.run(&paint).refused(&rest);
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let pulling = Pulling::new();
    pulling.server.does(Faults {
        refuses: Some((401, "GatedRepo")),
        token: Some("hf_secret"),
        ..Faults::default()
    });
    pulling.pull().refused(&[
        "gated",
        "accept its licence at http://127.0.0.1",
        "/x2i/emoji",
        "HF_TOKEN",
    ]);
    let wrong = pulling
        .command(&["pull", REPOSITORY])
        .env("HF_TOKEN", "hf_other")
        .output()
        .unwrap();
    Run::new(wrong).refused(&[
        "gated",
        "the account of this token may not read it yet",
        "/x2i/emoji",
    ]);
    pulling.has_nothing();
    let file = pulling.program.path("in-token");
    fs::write(&file, "hf_secret\n").unwrap();
    pulling.server.asked();
    for (name, value) in [
        ("HF_TOKEN", "hf_secret"),
        ("HF_TOKEN_PATH", file.to_str().unwrap()),
    ] {
        let run = pulling
            .command(&["pull", REPOSITORY])
            .env(name, value)
            .output()
            .unwrap();
        let run = Run::new(run).succeeded();
        assert!(!format!("{}{}", run.stdout, run.stderr).contains("secret"));
        pulling.is_whole();
        let asked = pulling.server.asked();
        let with: Vec<Host> = asked
            .iter()
            .filter(|asked| asked.headers.contains_key("authorization"))
            .map(|asked| asked.host)
            .collect();
        assert!(
            !with.is_empty() && with.iter().all(|host| *host == Host::Hub),
            "{name}: {with:?}"
        );
        fs::remove_dir_all(pulling.repository()).unwrap();
    }
    fs::copy(&file, pulling.program.path("in-hf/token")).unwrap();
    pulling.pull().succeeded();
    pulling.is_whole();
}

#[test]
fn what_the_hub_has_not_is_said_in_one_sentence() {
    let pulling = Pulling::new();
    for (name, words) in [
        ("x2i/none", "there is no repository"),
        ("x2i/emoji@none", "has no such revision"),
        (
            "x2i/emoji:none.gguf",
            "has no file none.gguf; it has align_net.gguf",
        ),
    ] {
        pulling.run(&["pull", name]).refused(&["hf:x2i/", words]);
    }
    pulling
        .run(&["pull", "../evil"])
        .refused(&["is no repository of the Hub"]);
    pulling.has_nothing();
    let dead = pulling
        .command(&["pull", REPOSITORY])
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .output();
    Run::new(dead.unwrap()).refused(&["hf:x2i/emoji: can't reach 127.0.0.1"]);
    let no_address = pulling
        .command(&["pull", REPOSITORY])
        .env("HF_ENDPOINT", "hub")
        .output();
    Run::new(no_address.unwrap()).refused(&["HF_ENDPOINT", "hub is no address"]);
}

#[test]
fn cut_connections_busy_servers_and_servers_without_ranges_lose_nothing() {
    let pulling = Pulling::new();
    let faults = [
        Faults {
            cuts: Some((300_000, 12)),
            ..Faults::default()
        },
        Faults {
            busy: (3, "0.1"),
            ..Faults::default()
        },
        Faults {
            expires: Some(5),
            ..Faults::default()
        },
        Faults {
            no_ranges: true,
            ..Faults::default()
        },
        Faults {
            no_ranges: true,
            cuts: Some((2_000_000, 2)),
            ..Faults::default()
        },
    ];
    for faults in faults {
        let shown = format!("{faults:?}");
        let ranges = !faults.no_ranges;
        pulling.server.does(faults);
        pulling.server.asked();
        let run = pulling.pull();
        assert_eq!(run.code, Some(0), "{shown}: {}", run.stderr);
        pulling.is_whole();
        if ranges {
            assert_eq!(
                pulling.server.sent(),
                pulling.weights(),
                "{shown}: no byte comes twice"
            );
        }
        fs::remove_dir_all(pulling.repository()).unwrap();
    }
    pulling.server.does(Faults {
        busy: (9, "7200"),
        ..Faults::default()
    });
    pulling
        .pull()
        .refused(&["gguf", "too many requests (429)", "asks to wait for 7200 s"]);
    pulling.has_nothing();
}

#[test]
fn a_wrong_hash_is_downloaded_once_more_and_then_refused() {
    let pulling = Pulling::new();
    pulling.server.does(Faults {
        wrong: Some((LARGE, 1)),
        ..Faults::default()
    });
    pulling.pull().succeeded();
    pulling.is_whole();
    let length = pulling.server.files()[LARGE].len() as u64;
    assert_eq!(
        pulling.server.sent(),
        pulling.weights() + length,
        "that file came twice"
    );
    fs::remove_dir_all(pulling.repository()).unwrap();
    pulling.server.asked();
    pulling.server.does(Faults {
        wrong: Some((LARGE, usize::MAX)),
        ..Faults::default()
    });
    let expected = hub::sha256(&pulling.server.files()[LARGE]);
    pulling.pull().refused(&[
        LARGE,
        "came twice with the SHA-256",
        &expected,
        "it is removed",
    ]);
    pulling.has_nothing();
    let blobs = names(&pulling.repository().join("blobs"));
    assert!(
        !blobs.iter().any(|name| name.starts_with(&expected)),
        "{blobs:?}"
    );
}

#[test]
fn a_file_that_changes_while_it_comes_begins_anew() {
    let pulling = Pulling::new();
    let before = hub::sha256(&pulling.server.files()[LARGE]);
    // One connection: with more, all of its parts may be on their way when it changes, and come whole.
    pulling.server.does(Faults {
        change: Some((LARGE, 3 << 20)),
        ..Faults::default()
    });
    pulling
        .run(&["pull", REPOSITORY, "--connections", "1"])
        .succeeded();
    assert_ne!(hub::sha256(&pulling.server.files()[LARGE]), before);
    pulling.is_whole();
}

/// Starts a pull that takes long, and waits until some of it came.
fn slow_pull(pulling: &Pulling) -> Child {
    pulling.server.does(Faults {
        pause: Some(Duration::from_millis(150)),
        ..Faults::default()
    });
    let mut command = pulling.command(&["pull", REPOSITORY, "--connections", "2"]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while pulling.server.sent() < 4_000_000 {
        assert!(began.elapsed() < LONG, "the download begins");
        sleep(Duration::from_millis(20));
    }
    child
}

#[test]
fn a_pull_that_is_killed_goes_on_where_it_was() {
    let pulling = Pulling::new();
    let mut child = slow_pull(&pulling);
    child.kill().unwrap();
    child.wait().unwrap();
    pulling.has_nothing();
    pulling.server.does(Faults::default());
    pulling.server.asked();
    let run = pulling.pull().succeeded();
    assert!(run.stderr.contains("of an earlier time"), "{}", run.stderr);
    pulling.is_whole();
    let sent = pulling.server.sent();
    assert!(
        sent + 1_000_000 < pulling.weights(),
        "{sent} of {} bytes came again",
        pulling.weights()
    );
}

/// `X2I_KILLS` asks for more.
#[test]
fn a_pull_that_is_killed_at_any_moment_leaves_no_half_of_a_model() {
    let kills = std::env::var("X2I_KILLS").ok();
    let kills: u64 = kills.and_then(|kills| kills.parse().ok()).unwrap_or(8);
    let pulling = Pulling::new();
    pulling.server.does(Faults {
        pause: Some(Duration::from_millis(2)),
        ..Faults::default()
    });
    let (mut hits, mut wholes) = (0, 0);
    for kill in 0..kills {
        let mut child = pulling
            .command(&["pull", REPOSITORY, "-q"])
            .spawn()
            .unwrap();
        // From the first request to the last link, in an order without a pattern.
        sleep(Duration::from_millis(kill * 197 % 600));
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        hits += u64::from(!ended);
        if pulling.repository().join("refs/main").exists() {
            pulling.is_whole();
            wholes += 1;
            fs::remove_dir_all(pulling.repository()).unwrap();
        }
    }
    println!("{hits} of {kills} kills hit a pull, {wholes} models were complete");
    pulling.pull().succeeded();
    pulling.is_whole();
}

#[test]
fn control_c_keeps_what_came() {
    let pulling = Pulling::new();
    let mut child = slow_pull(&pulling);
    let sent = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    pulling.has_nothing();
    pulling.server.does(Faults::default());
    pulling.pull().succeeded();
    pulling.is_whole();
}

#[test]
fn two_pulls_at_once_do_not_hurt_each_other() {
    let pulling = Pulling::new();
    let mut first = slow_pull(&pulling);
    pulling.server.does(Faults::default());
    pulling.pull().succeeded();
    pulling.is_whole();
    assert!(first.wait().unwrap().success());
    pulling.is_whole();
}

/// Runs a pull whose files may not be longer than `blocks` of 512 bytes.
fn limited(pulling: &Pulling, blocks: u32) -> Run {
    let command = pulling.command(&["pull", REPOSITORY]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Run::new(
        shell
            .current_dir(pulling.program.folder.path())
            .output()
            .unwrap(),
    )
}

#[test]
fn a_full_disk_is_one_sentence_and_loses_nothing() {
    let pulling = Pulling::new();
    for blocks in [8, 700, 6000] {
        limited(&pulling, blocks).refused(&["in-hf/hub", "is larger than a file may be here"]);
        pulling.has_nothing();
    }
    pulling.pull().succeeded();
    pulling.is_whole();
    fs::remove_dir_all(pulling.program.path("in-hf")).unwrap();
    let disk = pulling.program.path("in-hf");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "x2i-test"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: this user can't mount a small file system");
        return;
    }
    let run = pulling.pull();
    let sent = pulling
        .server
        .asked()
        .iter()
        .filter(|asked| asked.host == Host::Cdn)
        .count();
    let is_empty = !pulling.snapshot().exists();
    let _ = Command::new("umount").arg(&disk).status();
    run.refused(&["16.0 MB are to be downloaded, and the disk has", "left"]);
    assert!(is_empty && sent > 0);
}

#[test]
fn a_proxy_is_asked_in_place_of_the_hub() {
    let pulling = Pulling::new();
    let (address, asked) = hub::proxy();
    let mut command = pulling.command(&["pull", REPOSITORY]);
    command
        .env("HF_ENDPOINT", "http://hub.invalid")
        .env("HTTPS_PROXY", &address)
        .env_remove("NO_PROXY");
    let run = Run::new(command.env_remove("no_proxy").output().unwrap());
    run.refused(&["hf:x2i/emoji"]);
    let asked = asked.lock().unwrap();
    assert!(
        asked.iter().any(|line| line.contains("hub.invalid")),
        "{asked:?}"
    );
}
