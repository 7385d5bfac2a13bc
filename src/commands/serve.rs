use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use engine::{Lake, Reader, policies};
use tokio::net::TcpListener;
use tracing::warn;

use super::{Context, bind};
use crate::config::Config;
use crate::output;
use crate::roles::{Roles, Stage};

/// Run the serving role: Flight SQL and HTTP on the newest epoch, until stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  SPORTLAKE__FLIGHT__LISTEN=127.0.0.1:50052 sportlake serve")]
pub(crate) struct Command {
    /// Serve an address that other machines reach although nobody signs in or nothing is encrypted [flight.insecure, http.insecure]
    #[arg(long)]
    insecure: bool,
}

impl Command {
    pub(crate) async fn run(self, mut context: Context) -> anyhow::Result<ExitCode> {
        context.config.flight.insecure |= self.insecure;
        context.config.http.insecure |= self.insecure;
        let lake = context.existing_lake().await?;
        let reader = context.reader(lake.clone())?;
        let listeners = Listeners::bind(&context.config).await?;
        let mut roles = Roles::new();
        let addresses = listeners.start(&context, &mut roles, lake, reader)?;
        let flight = addresses.flight_uri(&context.config);
        output::line(&format!("Flight SQL  {flight}"))?;
        output::line(&format!("HTTP        http://{}", addresses.http))?;
        roles.run(context.shutdown.token()).await?;
        Ok(context.shutdown.code_of_role())
    }
}

/// Where clients connect.
pub(crate) struct Addresses {
    pub(crate) flight: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Addresses {
    /// As drivers take it.
    pub(crate) fn flight_uri(&self, config: &Config) -> String {
        let scheme = match config.flight.tls_certificate.is_empty() {
            true => "grpc",
            false => "grpc+tls",
        };
        format!("{scheme}://{}", self.flight)
    }
}

/// Both ports of the role, bound and not yet answered.
pub(crate) struct Listeners {
    flight: TcpListener,
    http: TcpListener,
}

impl Listeners {
    pub(crate) async fn bind(config: &Config) -> engine::Result<Self> {
        config.flight.validate()?;
        config.http.validate()?;
        Ok(Self {
            flight: bind("flight.listen", &config.flight.listen).await?,
            http: bind("http.listen", &config.http.listen).await?,
        })
    }

    pub(crate) fn start(
        self,
        context: &Context,
        roles: &mut Roles,
        lake: Lake,
        reader: Reader,
    ) -> anyhow::Result<Addresses> {
        let addresses = Addresses {
            flight: self.flight.local_addr()?,
            http: self.http.local_addr()?,
        };
        let config = &context.config;
        let known = policies::roles(&config.sql.path);
        for role in config.flight.roles.keys() {
            if !known.contains(role) {
                warn!(
                    role,
                    "flight.roles limits a role that policies.sql does not have"
                );
            }
        }
        let stop = roles.token(Stage::Work);
        let server = flight_server::Server::open(
            addresses.flight,
            reader.clone(),
            &config.flight,
            context.clock.clone(),
            stop.clone(),
        )?;
        let desk = server.desk();
        roles.start("Flight SQL", Stage::Work, server.serve(self.flight));
        let pinning = {
            let (reader, clock, stop) = (reader.clone(), context.clock.clone(), stop.clone());
            async move {
                reader.keep_pins(clock, stop).await;
                Ok::<(), engine::Error>(())
            }
        };
        roles.start("pins", Stage::Work, pinning);
        let page = console::Page {
            desk,
            lake,
            clock: context.clock.clone(),
            source: config.source.clone(),
            registry: context.metrics.clone(),
        };
        let serving = page.serve(self.http, config.http.clone(), stop);
        roles.start("HTTP", Stage::Work, serving);
        Ok(addresses)
    }
}
