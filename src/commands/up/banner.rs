use std::path::Path;

use changes::KafkaConfig;

use crate::commands::serve::Addresses;
use crate::config::Config;
use crate::output;

/// What runs, where it is, and three lines to paste.
pub(super) fn print(
    config: &Config,
    addresses: &Addresses,
    kafka: &KafkaConfig,
) -> std::io::Result<()> {
    let broker = if config.kafka.is_embedded() {
        format!(
            "{} (embedded, {})",
            kafka.brokers,
            config.broker.path.display()
        )
    } else {
        kafka.brokers.clone()
    };
    let program = if Path::new("sportlake").is_file() {
        "./sportlake"
    } else {
        "sportlake"
    };
    let flight = addresses.flight_uri(config);
    let http = addresses.http;
    output::line(&format!(
        "sportlake {version} runs; Ctrl-C stops it

  lake        {lake}
  project     {sql}/ (save a file and it takes effect)
  Kafka       {broker}
  Flight SQL  {flight}
  page        http://{http}  (also /metrics, /healthz, /readyz)

Paste one of these in another terminal or a browser:

  {program} query \"SELECT * FROM gold.indicateurs\"
  python3 -c \"from adbc_driver_flightsql import dbapi; c = dbapi.connect('{flight}').cursor(); \
c.execute('SELECT * FROM gold.indicateurs'); print(c.fetchall())\"
  http://{http}/
",
        version = env!("CARGO_PKG_VERSION"),
        lake = config.lake.uri,
        sql = config.sql.path.display(),
    ))
}
