//! Users, tokens, tenants, the audit log, and logging in: from a command to a call.

use std::path::Path;

use quarry_api_types as api;
use quarry_client::Client;

use crate::arguments::{Arguments, Login, TenantBounds, TenantCommand, TokenCommand, UserCommand};
use crate::connect::Saved;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::secrets;
use crate::tables::access as tables;
use crate::values::PoolGrant;

/// Logs in and saves the token for the commands that follow.
pub async fn log_in(
    client: &Client,
    arguments: &Arguments,
    login: &Login,
    output: &mut Output,
) -> Result<(), Failure> {
    let endpoint = &arguments.endpoint;
    let saved = Saved::of(endpoint).ok_or_else(no_home)?;
    secrets::check_endpoint(client, "a password", "quarry login")?;
    let password = password(login.password_file.as_deref(), "the password")?;
    let new = client.log_in(&api::Login { user: login.user.clone(), password }).await?;
    let authority =
        arguments.ca_file().map(|path| secrets::read(Some(path), "the certificate of the authority"));
    saved.write(new.text.reveal(), authority.transpose()?.as_deref())?;
    let path = saved.path().display().to_string();
    output.answer(&new.token, |token| tables::logged_in(token, &path))
}

/// Ends the token of the present login and forgets it.
pub async fn log_out(client: &Client, arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let saved = Saved::of(&arguments.endpoint).ok_or_else(no_home)?;
    client.log_out().await?;
    saved.remove()?;
    output.done("Logged out.")
}

pub async fn user(client: &Client, command: UserCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        UserCommand::Create { name, role, tenant, password_file } => {
            secrets::check_endpoint(client, "a password", "quarry user create ...")?;
            let password = password(password_file.as_deref(), "the password")?;
            let request = api::CreateUser { name, role, tenant, password };
            output.answer(&client.create_user(&request).await?, tables::user)
        }
        UserCommand::List => output.answer(&client.list_users().await?, |users| tables::users(users)),
        UserCommand::Show { name } => output.answer(&client.show_user(&name).await?, tables::user),
        UserCommand::SetPassword { name, password_file, old_password_file } => {
            secrets::check_endpoint(client, "a password", "quarry user set-password ...")?;
            let old_password =
                old_password_file.map(|path| password(Some(&path), "the present password")).transpose()?;
            let password = password(password_file.as_deref(), "the new password")?;
            client.set_password(&name, &api::SetPassword { password, old_password }).await?;
            output.done(&format!("User {name} has another password and is logged out."))
        }
        UserCommand::Delete { name } => {
            client.delete_user(&name).await?;
            output.done(&format!("User {name} deleted; its tokens open nothing any more."))
        }
    }
}

pub async fn token(client: &Client, command: TokenCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { role, tenant, purpose, life } => {
            let request = api::CreateToken { role, tenant, purpose, life_s: life.map(|life| life.0) };
            output.answer(&client.create_token(&request).await?, |new| new.text.reveal().to_owned())
        }
        TokenCommand::List { user } => {
            output.answer(&client.list_tokens(user.as_ref()).await?, |tokens| tables::tokens(tokens))
        }
        TokenCommand::Revoke { id } => {
            client.revoke_token(&id).await?;
            output.done(&format!("Token {id} revoked."))
        }
    }
}

pub async fn tenant(client: &Client, command: TenantCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        TenantCommand::Create { name, bounds } => {
            let TenantBounds { pools, policies, capacity, volumes, qos } = *bounds;
            let (pools, shares) = grants(pools);
            let request = api::CreateTenant {
                name,
                pools,
                policies,
                shares,
                capacity_bytes: capacity.map(|bound| bound.0).filter(|&bytes| bytes > 0),
                volumes: volumes.filter(|&count| count > 0),
                qos: crate::qos::changed(None, &qos),
            };
            output.answer(&client.create_tenant(&request).await?, tables::tenant)
        }
        TenantCommand::List => {
            output.answer(&client.list_tenants().await?, |tenants| tables::tenants(tenants))
        }
        TenantCommand::Show { name } => output.answer(&client.show_tenant(&name).await?, tables::tenant),
        TenantCommand::Set { name, bounds, no_pools, no_policies } => {
            let TenantBounds { pools, policies, capacity, volumes, qos } = *bounds;
            let before = match qos.is_empty() {
                true => None,
                false => client.show_tenant(&name).await?.qos,
            };
            let is_granting = no_pools || !pools.is_empty();
            let (pools, shares) = grants(pools);
            let request = api::ChangeTenant {
                pools: is_granting.then_some(pools),
                shares: is_granting.then_some(shares),
                policies: (no_policies || !policies.is_empty()).then_some(policies),
                capacity_bytes: capacity.map(|bound| bound.0),
                volumes,
                qos: crate::qos::changed(before, &qos),
            };
            output.answer(&client.change_tenant(&name, &request).await?, tables::tenant)
        }
        TenantCommand::Delete { name } => {
            client.delete_tenant(&name).await?;
            output.done(&format!("Tenant {name} deleted."))
        }
    }
}

/// The pools, and the shares of those of them that have a bound.
fn grants(grants: Vec<PoolGrant>) -> (Vec<api::Name>, Vec<api::PoolShare>) {
    let share = |grant: &PoolGrant| {
        let capacity_bytes = grant.capacity_bytes?;
        Some(api::PoolShare { pool: grant.pool.clone(), capacity_bytes })
    };
    let shares = grants.iter().filter_map(share).collect();
    (grants.into_iter().map(|grant| grant.pool).collect(), shares)
}

/// A password from a file or from a line of standard input; the line's end is no part of it.
fn password(file: Option<&Path>, what: &str) -> Result<api::Secret, Failure> {
    let bytes = secrets::read(file, what)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure {
        exit: Exit::Usage,
        message: format!("{what} is not UTF-8"),
        cause: None,
        next_step: "Choose one of letters, digits and signs.".to_owned(),
    })?;
    Ok(api::Secret::new(text.trim_end_matches(['\r', '\n'])))
}

fn no_home() -> Failure {
    Failure {
        exit: Exit::Failure,
        message: "there is no place to keep a token".to_owned(),
        cause: Some("neither HOME nor XDG_CONFIG_HOME is set".to_owned()),
        next_step: "Set HOME, or use QUARRY_TOKEN or --token-file.".to_owned(),
    }
}
