//! What a start would do.

use changes::{Clock, KafkaConfig, Result};

use super::capture::{CdcOptions, check, seconds};
use super::catalogue;
use super::choice::Choice;
use super::config::CdcConfig;
use super::slot;
use super::state::{Route, State};
use crate::postgres::{Address, Connection};
use crate::topics;

/// What a start would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub server: String,
    pub slot_exists: bool,
    pub generation: u64,
    pub tables: Vec<PlannedTable>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTable {
    pub table: String,
    pub topic: String,
    /// About how many rows there are; below 0 where PostgreSQL has not counted yet.
    pub rows: i64,
    pub action: Action,
}

/// What a start would do with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Load,
    GoOn,
    /// It cannot be captured as it is; the reason.
    Skip(String),
}

/// What a start would do; changes nothing. The embedded broker is not asked: it may not run yet.
pub async fn plan(
    kafka: &KafkaConfig,
    address: &Address,
    config: &CdcConfig,
    options: CdcOptions,
    clock: &Clock,
) -> Result<Plan> {
    config.validate()?;
    let mut control = Connection::connect(address).await?;
    catalogue::check_server(&mut control).await?;
    let published = catalogue::published(&mut control, &config.publication).await?;
    let mut replicating = Connection::replicating(address).await?;
    let (source, timeline) = slot::identify(&mut replicating).await?;
    let seen = match kafka.is_embedded() {
        true => None,
        false => Some(topics::asked(kafka).await?),
    };
    let route = Route {
        source,
        timeline,
        slot: config.slot.clone(),
        prefix: kafka.prefix.clone(),
        cluster: seen.as_ref().and_then(|seen| seen.cluster.clone()),
    };
    let (state, slot) = if options.new_generation {
        (State::next(&config.state, seconds(clock)), None)
    } else {
        let state = State::open(&config.state)?;
        let slot = slot::find(&mut control, &config.slot).await?;
        check(&state, &route, slot.as_ref(), &mut replicating).await?;
        (state, slot)
    };
    let mut choice = Choice::of(&mut control, published, &state, &kafka.prefix, config).await?;
    let missing = seen.map_or_else(Default::default, |seen| {
        topics::missing(&seen, choice.topics())
    });
    if !config.create_topics {
        choice.pass_over(|_, table| {
            let topic = &table.topic;
            missing.contains(topic).then(|| topics::absent(topic))
        })?;
    }
    let choice = choice.if_any()?;
    let mut tables = Vec::new();
    for (published, table) in &choice.usable {
        // A topic that has to be made holds nothing of what was loaded.
        let action = match state.loaded(published) {
            Some(_) if !missing.contains(&table.topic) => Action::GoOn,
            _ => Action::Load,
        };
        let size = catalogue::size(&mut control, published).await?;
        tables.push(PlannedTable {
            table: published.name(),
            topic: table.topic.clone(),
            rows: size.rows,
            action,
        });
    }
    tables.extend(choice.skipped.iter().map(|skipped| PlannedTable {
        table: skipped.table.name(),
        topic: String::new(),
        rows: -1,
        action: Action::Skip(skipped.error.to_string()),
    }));
    Ok(Plan {
        server: address.shown(),
        slot_exists: slot.is_some(),
        generation: state.generation(),
        tables,
    })
}
