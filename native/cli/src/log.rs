//! The log of commands that serve: lines on stderr and, with the feature `otlp`, spans for a collector.

use anyhow::{Context, Result};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::flags::LogArgs;

/// Keeps what is logged going; dropping it sends what is left.
pub struct Log {
    #[cfg(feature = "otlp")]
    provider: opentelemetry_sdk::trace::SdkTracerProvider,
}

#[cfg(feature = "otlp")]
impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.provider.shutdown(); // a collector that is away misses the last spans
    }
}

/// Logs from now on.
///
/// # Errors
/// For a `RUST_LOG` that can't be read; with `otlp`, for a collector's address that is none.
pub fn log(args: &LogArgs) -> Result<Log> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(asked) if !asked.is_empty() => EnvFilter::try_new(&asked).context("RUST_LOG")?,
        _ => EnvFilter::new(args.log.directive()),
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match args.log_json {
        true => lines.json().boxed(),
        false => lines.boxed(),
    };
    #[cfg(not(feature = "otlp"))]
    {
        tracing_subscriber::registry()
            .with(lines)
            .with(filter)
            .init();
        Ok(Log {})
    }
    #[cfg(feature = "otlp")]
    {
        let provider = spans()?;
        let tracer = opentelemetry::trace::TracerProvider::tracer(&provider, "x2i");
        let spans = tracing_opentelemetry::layer().with_tracer(tracer);
        tracing_subscriber::registry()
            .with(lines)
            .with(filter)
            .with(spans)
            .init();
        Ok(Log { provider })
    }
}

/// Sends spans where OpenTelemetry's own variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`), by default to a collector on this
/// machine.
#[cfg(feature = "otlp")]
fn spans() -> Result<opentelemetry_sdk::trace::SdkTracerProvider> {
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build();
    let exporter = exporter.context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let resource = Resource::builder().with_service_name("x2i").build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build())
}
