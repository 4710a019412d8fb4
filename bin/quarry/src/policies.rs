//! Policies: from a command to a call.

use quarry_api_types as api;
use quarry_client::Client;

use crate::arguments::{PolicyCommand, PolicyOptions, WhyCommand};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::qos;
use crate::tables::policies as tables;

type Result<T> = std::result::Result<T, Failure>;

pub async fn run(client: &Client, command: PolicyCommand, output: &mut Output) -> Result<()> {
    match command {
        PolicyCommand::Create { name, settings } => {
            let request = api::CreatePolicy { name, settings: settings_of(&settings) };
            output.answer(&client.create_policy(&request).await?, tables::policy)
        }
        PolicyCommand::List => {
            output.answer(&client.list_policies().await?, |policies| tables::policies(policies))
        }
        PolicyCommand::Show { name } => output.answer(&client.show_policy(&name).await?, tables::policy),
        PolicyCommand::Set { name, settings, unset, if_version } => {
            let before = client.show_policy(&name).await?;
            let settings = changed(&before.settings, &settings, &unset)?;
            // Without a version of the user's own: nobody's change in between is lost.
            let request = api::ChangePolicy { version: Some(if_version.unwrap_or(before.version)), settings };
            output.answer(&client.change_policy(&name, &request).await?, tables::policy)
        }
        PolicyCommand::Delete { name } => {
            client.delete_policy(&name).await?;
            output.done(&format!("Policy {name} deleted."))
        }
        PolicyCommand::Attach { policy, group: Some(group), .. } => {
            let request = api::AttachPolicy { policy: Some(policy), ..Default::default() };
            output.answer(&client.attach_group_policy(&group, &request).await?, tables::group)
        }
        PolicyCommand::Attach { policy, volumes, group: None } => {
            let mut all = Vec::with_capacity(volumes.len());
            for volume in &volumes {
                let overrides = client.show_volume_policy(volume).await?.overrides;
                let request = api::AttachPolicy { policy: Some(policy.clone()), overrides };
                all.push(client.attach_volume_policy(volume, &request).await?);
            }
            output.answer(&all, |all| tables::volumes(all))
        }
        PolicyCommand::Detach { group: Some(group), .. } => {
            output.answer(&client.detach_group_policy(&group).await?, tables::group)
        }
        PolicyCommand::Detach { volumes, group: None } => {
            let mut all = Vec::with_capacity(volumes.len());
            for volume in &volumes {
                all.push(client.detach_volume_policy(volume).await?);
            }
            output.answer(&all, |all| tables::volumes(all))
        }
        PolicyCommand::Override { volume, settings, unset } => {
            let before = client.show_volume_policy(&volume).await?;
            let overrides = changed(&before.overrides, &settings, &unset)?;
            let policy = before.policy.filter(|_| before.through_group.is_none());
            let answer = match policy.is_none() && overrides.is_empty() {
                true => client.detach_volume_policy(&volume).await?,
                false => {
                    let request = api::AttachPolicy { policy, overrides };
                    client.attach_volume_policy(&volume, &request).await?
                }
            };
            output.answer(&answer, tables::why)
        }
    }
}

pub async fn why(client: &Client, command: WhyCommand, output: &mut Output) -> Result<()> {
    let WhyCommand::Volume { name } = command;
    let throttled = client.show_volume(&name).await?;
    let policy = client.show_volume_policy(&name).await?;
    // One in image mode lies on its device, and a node of an earlier version cannot tell: neither is a reason to tell nothing.
    let placement = client.show_placement(&name).await.ok();
    let why = Why { policy, placement };
    output.answer(&why, |why| {
        let lies = why.placement.as_ref().map_or(String::new(), crate::tables::tiers::volume);
        tables::why(&why.policy) + &super::tables::throttled(&throttled) + &lies
    })
}

/// Why a volume is as it is, and lies where it does.
#[derive(serde::Serialize)]
struct Why {
    #[serde(flatten)]
    policy: api::VolumePolicy,
    placement: Option<api::VolumePlacement>,
}

/// What was typed over what there was, without what is to be unset.
fn changed(
    before: &api::PolicySettings,
    options: &PolicyOptions,
    unset: &[api::PolicySetting],
) -> Result<api::PolicySettings> {
    let mut typed = settings_of(options);
    typed.qos = qos::changed(before.qos.clone(), &options.qos);
    if typed.is_empty() && unset.is_empty() {
        return Err(Failure {
            exit: Exit::Usage,
            message: "nothing is to be changed".to_owned(),
            cause: None,
            next_step: "Say how it is meant to be, for example --compression lz4, or --unset SETTING."
                .to_owned(),
        });
    }
    if let Some(both) = unset.iter().find(|setting| typed.describe(**setting).is_some()) {
        return Err(Failure {
            exit: Exit::Usage,
            message: format!("{both} is both set and unset"),
            cause: None,
            next_step: "Do one of the two.".to_owned(),
        });
    }
    let mut settings = typed.over(before);
    unset.iter().for_each(|setting| settings.unset(*setting));
    Ok(settings)
}

fn settings_of(options: &PolicyOptions) -> api::PolicySettings {
    let rules = options.snapshots.clone();
    let time_zone = options.time_zone.clone().unwrap_or_default();
    api::PolicySettings {
        durability: options.durability,
        compression: options.compression,
        deduplication: options.deduplication,
        read_cache: options.read_cache,
        encrypted: options.encryption.map(|switch| switch.0),
        history_s: options.history.map(|history| history.0),
        quota_bytes: options.quota.map(|quota| quota.0),
        reserved_bytes: options.reserve.map(|reserve| reserve.0),
        overcommit_limit_percent: options.overcommit.map(|ratio| ratio.0),
        snapshots: (!rules.is_empty() || options.no_snapshots)
            .then_some(api::SnapshotSchedule { time_zone, rules }),
        protection: options.protection,
        tier: options.tier,
        qos: qos::changed(None, &options.qos),
        replication: options.replicate_to.clone().zip(options.rpo).map(|(target, rpo_s)| api::Replication {
            target,
            rpo_s: u32::try_from(rpo_s).unwrap_or(u32::MAX),
        }),
    }
}
