//! The program with a Hub and a cache of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{COMMIT, REPOSITORY, Server};
use crate::program::{Program, Run, names};

/// A program whose Hub is the server, with a cache of its own.
pub struct Pulling {
    pub program: Program,
    pub server: Server,
}

impl Pulling {
    pub fn new() -> Self {
        Self {
            program: Program::new(),
            server: Server::of_emoji(),
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program.command(arguments);
        for name in [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "ALL_PROXY",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "all_proxy",
            "https_proxy",
            "http_proxy",
        ] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.server.address);
        command.env("HF_HOME", self.program.path("in-hf"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::new(self.command(arguments).output().unwrap())
    }

    pub fn pull(&self) -> Run {
        self.run(&["pull", REPOSITORY])
    }

    pub fn repository(&self) -> PathBuf {
        self.program.path("in-hf/hub/models--x2i--emoji")
    }

    pub fn snapshot(&self) -> PathBuf {
        self.repository().join("snapshots").join(COMMIT)
    }

    /// Fails unless all files of the model are there, as the server has them, and nothing else is.
    #[track_caller]
    pub fn is_whole(&self) {
        let files = self.server.files();
        let wanted = [
            "align_net.gguf",
            "encoder.gguf",
            "flux.gguf",
            "model.json",
            "tokenizer.json",
            "vae.gguf",
        ];
        assert_eq!(names(&self.snapshot()), wanted);
        for name in wanted {
            assert_eq!(
                fs::read(self.snapshot().join(name)).unwrap(),
                files[name],
                "{name}"
            );
        }
        assert_eq!(
            fs::read_to_string(self.repository().join("refs/main")).unwrap(),
            COMMIT
        );
        let blobs = names(&self.repository().join("blobs"));
        assert_eq!(blobs.len(), wanted.len(), "{blobs:?}");
    }

    /// Fails if a file of the model, or the name of a revision, is there.
    #[track_caller]
    pub fn has_nothing(&self) {
        assert!(!self.snapshot().exists() && !self.repository().join("refs").exists());
    }

    pub fn weights(&self) -> u64 {
        let files = self.server.files();
        files
            .iter()
            .filter(|(name, _)| name.ends_with(".gguf"))
            .map(|(_, bytes)| bytes.len() as u64)
            .sum()
    }
}
