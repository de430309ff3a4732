//! The streams, consumers, buckets and object stores, made if they are not there.
//!
//! Settings that may change while jobs run are changed by a gateway; where others differ, the server has streams of
//! somebody else, and one sentence says so.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{self, AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::kv::{self, Store};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType, Stream};

use super::connection::Session;
use super::names;
use super::options::NatsSettings;
use super::refusal::unavailable;
use crate::job::{Code, Failure};

/// Pull requests that may wait at a consumer: one for each idle worker.
const PULLS: i64 = 16_384;
/// The largest state: many outputs and a long answer.
const STATE_BYTES: i32 = 512 << 10;

/// Who keeps the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// A gateway: changes what differs and may be changed.
    Gateway,
    /// A worker: takes what is there.
    Worker,
}

/// All that is stored.
#[derive(Clone)]
pub struct Stores {
    /// The connection.
    pub session: Session,
    /// The settings.
    pub settings: NatsSettings,
    /// Jobs that wait or run.
    pub(super) jobs: Stream,
    /// Where jobs stand.
    pub(super) state: Store,
    /// What requests made which jobs.
    pub(super) keys: Store,
    /// Workers.
    pub(super) workers: Store,
    /// Inputs.
    pub(super) inputs: ObjectStore,
    /// Outputs.
    pub(super) results: ObjectStore,
}

impl Stores {
    /// Opens everything, and makes what is not there.
    ///
    /// # Errors
    /// When the server refuses, or has streams of these names that are made otherwise.
    pub async fn open(
        session: Session,
        settings: NatsSettings,
        upkeep: Upkeep,
    ) -> Result<Self, Failure> {
        let open = Opening {
            session: &session,
            settings: &settings,
            upkeep,
        };
        let jobs = open.stream(open.jobs()).await?;
        open.stream(open.dead()).await?;
        open.stream(open.advisories()).await?;
        let NatsSettings {
            keep_state,
            keep_results,
            keep_worker,
            ..
        } = settings;
        let (state, keys, workers) = (
            open.bucket(names::STATE, keep_state, STATE_BYTES).await?,
            open.bucket(names::KEYS, keep_state, 4096).await?,
            open.bucket(names::WORKERS, keep_worker, 64 << 10).await?,
        );
        let inputs = open.objects(names::INPUTS, keep_state).await?;
        let results = open.objects(names::RESULTS, keep_results).await?;
        Ok(Self {
            session,
            settings,
            jobs,
            state,
            keys,
            workers,
            inputs,
            results,
        })
    }

    /// The consumer of a model's jobs, made if it is not there.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn consumer(&self, model: &str) -> Result<PullConsumer, Failure> {
        let name = names::consumer(model);
        let config = pull::Config {
            durable_name: Some(name.clone()),
            description: Some(format!("jobs for {model}")),
            filter_subject: names::jobs_of(model),
            max_waiting: PULLS,
            max_ack_pending: count(self.settings.running),
            num_replicas: self.settings.replicas,
            ..self.patient()
        };
        let made = self.jobs.create_consumer(config).await;
        made.map_err(|error| unavailable(&format!("consumer {name}"), error))
    }

    /// The consumer of advisories that all gateways share.
    pub(super) async fn advisories(&self) -> Result<PullConsumer, Failure> {
        let config = pull::Config {
            durable_name: Some(names::BURIER.into()),
            max_deliver: -1,
            num_replicas: self.settings.replicas,
            ..self.patient()
        };
        let stream = self.session.jetstream.get_stream(names::ADVISORIES).await;
        let stream = stream.map_err(|error| unavailable(names::ADVISORIES, error))?;
        let made = stream.create_consumer(config).await;
        made.map_err(|error| unavailable(&format!("consumer {}", names::BURIER), error))
    }

    fn patient(&self) -> pull::Config {
        pull::Config {
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.settings.ack_wait,
            max_deliver: count(self.settings.deliveries),
            ..pull::Config::default()
        }
    }

    /// How many jobs run: those that workers have and did not finish.
    pub(super) async fn running(&self) -> Result<usize, Failure> {
        use futures_util::TryStreamExt;
        let infos = self.jobs.consumers();
        let pending = infos.try_fold(0, |sum, info: consumer::Info| async move {
            Ok(sum + info.num_ack_pending)
        });
        pending
            .await
            .map_err(|error| unavailable(names::JOBS, error))
    }
}

/// What is being opened.
struct Opening<'a> {
    session: &'a Session,
    settings: &'a NatsSettings,
    upkeep: Upkeep,
}

impl Opening<'_> {
    fn jobs(&self) -> stream::Config {
        stream::Config {
            name: names::JOBS.into(),
            description: Some("x2i: jobs that wait or run".into()),
            subjects: vec![names::ALL_JOBS.into()],
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages: count(self.settings.jobs),
            max_messages_per_subject: 1,
            duplicate_window: self.settings.duplicates,
            allow_message_ttl: self.session.message_ttl,
            ..self.stored()
        }
    }

    fn dead(&self) -> stream::Config {
        stream::Config {
            name: names::DEAD.into(),
            description: Some("x2i: jobs that nobody could do".into()),
            subjects: vec![names::ALL_DEAD.into()],
            max_age: self.settings.keep_dead,
            duplicate_window: self.settings.duplicates.min(self.settings.keep_dead),
            ..self.stored()
        }
    }

    fn advisories(&self) -> stream::Config {
        stream::Config {
            name: names::ADVISORIES.into(),
            description: Some("x2i: what the server tells of such jobs".into()),
            subjects: vec![names::ALL_ADVISORIES.into()],
            retention: RetentionPolicy::WorkQueue,
            max_age: self.settings.keep_dead,
            ..self.stored()
        }
    }

    fn stored(&self) -> stream::Config {
        stream::Config {
            storage: StorageType::File,
            num_replicas: self.settings.replicas,
            allow_direct: true,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_bytes: -1,
            max_consumers: -1,
            ..stream::Config::default()
        }
    }

    async fn stream(&self, wanted: stream::Config) -> Result<Stream, Failure> {
        let name = wanted.name.clone();
        let refused = |error: &dyn std::fmt::Display| unavailable(&format!("stream {name}"), error);
        let jetstream = &self.session.jetstream;
        let found = match jetstream.create_stream(wanted.clone()).await {
            Ok(made) => made,
            // Another process made it, perhaps just now.
            Err(error) if exists(&error.kind()) => jetstream
                .get_stream(&name)
                .await
                .map_err(|error| refused(&error))?,
            Err(error) => return Err(refused(&error)),
        };
        let there = &found.cached_info().config;
        self.check(there, &wanted)?;
        if self.upkeep == Upkeep::Gateway && differs(there, &wanted) {
            let changed = stream::Config {
                max_messages: wanted.max_messages,
                max_age: wanted.max_age,
                duplicate_window: wanted.duplicate_window,
                num_replicas: wanted.num_replicas,
                allow_message_ttl: wanted.allow_message_ttl || there.allow_message_ttl,
                ..there.clone()
            };
            tracing::info!(stream = name, "its settings are changed");
            jetstream
                .update_stream(changed)
                .await
                .map_err(|error| refused(&error))?;
            return jetstream
                .get_stream(&name)
                .await
                .map_err(|error| refused(&error));
        }
        Ok(found)
    }

    /// Compares what may not be changed, or would lose jobs.
    fn check(&self, there: &stream::Config, wanted: &stream::Config) -> Result<(), Failure> {
        let pairs = [
            ("retention", text(&there.retention), text(&wanted.retention)),
            ("storage", text(&there.storage), text(&wanted.storage)),
            ("subjects", text(&there.subjects), text(&wanted.subjects)),
            ("discard", text(&there.discard), text(&wanted.discard)),
            (
                "discard_new_per_subject",
                text(&there.discard_new_per_subject),
                text(&wanted.discard_new_per_subject),
            ),
            (
                "max_msgs_per_subject",
                text(&there.max_messages_per_subject),
                text(&wanted.max_messages_per_subject),
            ),
        ];
        match pairs.iter().find(|(_, there, wanted)| there != wanted) {
            None => Ok(()),
            Some((setting, there, needed)) => {
                let name = &wanted.name;
                let message = format!(
                    "stream {name} is there with {setting} {there}, and x2i needs {needed}: remove it (`nats stream rm \
                     {name}`), or give x2i an account of its own"
                );
                Err(Failure::new(Code::Unavailable, message))
            }
        }
    }

    async fn bucket(&self, name: &str, age: Duration, largest: i32) -> Result<Store, Failure> {
        let jetstream = &self.session.jetstream;
        if !self.is_kept(&format!("KV_{name}"), age).await? {
            let config = kv::Config {
                bucket: name.into(),
                history: 1,
                max_age: age,
                max_value_size: largest,
                storage: StorageType::File,
                num_replicas: self.settings.replicas,
                ..kv::Config::default()
            };
            if let Ok(made) = jetstream.create_key_value(config).await {
                return Ok(made);
            } // another process may have made it just now
        }
        let found = jetstream.get_key_value(name).await;
        found.map_err(|error| unavailable(&format!("bucket {name}"), error))
    }

    async fn objects(&self, name: &str, age: Duration) -> Result<ObjectStore, Failure> {
        let jetstream = &self.session.jetstream;
        if !self.is_kept(&format!("OBJ_{name}"), age).await? {
            let config = object_store::Config {
                bucket: name.into(),
                max_age: age,
                storage: StorageType::File,
                num_replicas: self.settings.replicas,
                ..object_store::Config::default()
            };
            if let Ok(made) = jetstream.create_object_store(config).await {
                return Ok(made);
            } // another process may have made it just now
        }
        let found = jetstream.get_object_store(name).await;
        found.map_err(|error| unavailable(&format!("object store {name}"), error))
    }

    /// Whether the stream of a bucket is there; a gateway changes how long it keeps.
    async fn is_kept(&self, name: &str, age: Duration) -> Result<bool, Failure> {
        let jetstream = &self.session.jetstream;
        let refused = |error: &dyn std::fmt::Display| unavailable(&format!("stream {name}"), error);
        let found = match jetstream.get_stream(name).await {
            Ok(found) => found,
            Err(error) if is_missing(&error.kind()) => return Ok(false),
            Err(error) => return Err(refused(&error)),
        };
        let there = &found.cached_info().config;
        let wanted = (age, self.settings.replicas);
        if self.upkeep == Upkeep::Gateway && (there.max_age, there.num_replicas) != wanted {
            let changed = stream::Config {
                max_age: age,
                num_replicas: self.settings.replicas,
                duplicate_window: there.duplicate_window.min(age),
                ..there.clone()
            };
            let changed = jetstream.update_stream(changed).await;
            changed.map_err(|error| refused(&error))?;
        }
        Ok(true)
    }
}

fn exists(kind: &CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether settings differ that may be changed while jobs run.
fn differs(there: &stream::Config, wanted: &stream::Config) -> bool {
    there.max_messages != wanted.max_messages
        || there.max_age != wanted.max_age
        || there.duplicate_window != wanted.duplicate_window && !wanted.duplicate_window.is_zero()
        || there.num_replicas != wanted.num_replicas
        || (wanted.allow_message_ttl && !there.allow_message_ttl)
}

fn text(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
