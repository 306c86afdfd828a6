//! `sinew demo`: the hub and the reference platform in one process.

use std::net::SocketAddr;

use clap::Args;
use sinew::Tenancy;
use sinew::limit::http::TrustedProxies;
use sinew_platform::demo::{PASSWORD, TENANTS, Traffic, USERS, email_of, gateway, seed};
use sinew_platform::events::Workers;
use sinew_platform::remote::Remote;
use sinew_platform::{Database, rent_tracker};

use crate::auth::settings::AuthSettings;
use crate::cli::{Outcome, address_of, configured, may_listen, start, until_stopped};
use crate::config::{self, Flags, StoreSetting};
use crate::hub::Hub;
use crate::{serve, telemetry};

/// What the hub's lines say of who pastes them, where it asks for that.
const TOKEN: &str = "
The hub asks who you are. Before the other lines, name a token of its [[tokens]], as `sinew token new` printed it:
  export SINEW_TOKEN=snw_…
";
const BEARER: &str = " -H \"Authorization: Bearer $SINEW_TOKEN\"";

#[derive(Args)]
#[command(after_help = "\
Examples:
  sinew demo
  sinew demo --store redis://127.0.0.1:6379
  sinew demo --gateway-listen 127.0.0.1:7465
  SINEW_DEMO_DATABASE=postgres://user:password@127.0.0.1/rent sinew demo")]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    flags: Flags,
    /// Where the platform listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7464", value_parser = config::address)]
    platform_listen: SocketAddr,
    /// Where the platform's gateway listens, with its rate limits; none unless said. It trusts no proxy:
    /// what a request says of its user or address is not believed
    #[arg(long, value_name = "ADDRESS", value_parser = config::address)]
    gateway_listen: Option<SocketAddr>,
    /// The platform's database: sqlite::memory:, sqlite://FILE?mode=rwc or postgres://…
    #[arg(
        long,
        value_name = "URL",
        env = "SINEW_DEMO_DATABASE",
        hide_env_values = true,
        default_value = "sqlite::memory:"
    )]
    database: String,
    /// Live requests a second; 0 for none
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1000))]
    traffic: u32,
    /// Listen on addresses that others can reach, although nobody has to say who they are: at a hub
    /// without [[tokens]] and [[users]], and at the platform and its gateway always
    #[arg(long)]
    insecure: bool,
}

pub(crate) async fn run(args: &DemoArgs) -> Outcome {
    let config = match configured(&args.flags) {
        // The platform's services know their keys by this prefix.
        Ok(config) => config.or_prefix(rent_tracker::PREFIX),
        Err(outcome) => return outcome,
    };
    telemetry::log("warn");
    if config.speaks_of_envoy() {
        tracing::warn!(
            "rls_listen and [[rls]] have no effect here: the demonstration does not serve Envoy, `sinew serve` does"
        );
    }
    if config.tenancy() == Tenancy::Single {
        return Outcome::BadInput("--tenancy: the platform has tenants: expected multi".to_owned());
    }
    if let Err(error) = Database::check_url(&args.database) {
        return Outcome::BadInput(format!("--database: {error}"));
    }
    let allowed = may_listen(config.listen, args.insecure || config.auth.is_on(), "--listen")
        .and_then(|()| may_listen(args.platform_listen, args.insecure, "--platform-listen"))
        .and_then(|()| match args.gateway_listen {
            Some(address) => may_listen(address, args.insecure, "--gateway-listen"),
            None => Ok(()),
        });
    if let Err(message) = allowed {
        return Outcome::BadInput(message);
    }
    let (hub, hub_listener, signals) = match start(&config).await {
        Ok(started) => started,
        Err(outcome) => return outcome,
    };
    let listener = match serve::listen(args.platform_listen, "--platform-listen").await {
        Ok(listener) => listener,
        Err(message) => return Outcome::Failed(message),
    };
    let gateway_listener = match args.gateway_listen {
        Some(address) => match serve::listen(address, "--gateway-listen").await {
            Ok(listener) => Some(listener),
            Err(message) => return Outcome::Failed(message),
        },
        None => None,
    };
    // The store first: a demonstration without the one that was asked for shows nothing.
    if let Err(error) = hub.sinew().until_up().await {
        return Outcome::of(&error);
    }
    let database = match Database::open(&args.database).await {
        Ok(database) => database,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let seeded = match seed(&database).await {
        Ok(seeded) => seeded,
        Err(error) => {
            return Outcome::Failed(format!("cannot make the demonstration's data: {error}"));
        }
    };
    if seeded.is_new
        && let Err(error) = hub.sinew().clear_caches().await
    {
        return Outcome::of(&error);
    }
    let platform = format!("http://{}", address_of(&listener));
    let traffic = match Traffic::new(platform.clone(), args.traffic) {
        Ok(traffic) => traffic,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let embedded = matches!(config.store, StoreSetting::Embedded);
    println!("\nThe platform's database is {}.", database.name());
    let workers = Workers::start(hub.sinew(), &database, &Remote::default());
    let app = sinew_platform::router(hub.sinew().clone(), database, &TrustedProxies::default());
    let app = match app {
        Ok(app) => app,
        Err(error) => return Outcome::of(&error),
    };
    let gateway = match gateway(hub.sinew(), app.clone()) {
        Ok(gateway) => gateway,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    welcome(&hub, &address_of(&hub_listener), &platform, embedded);
    show_cache(&address_of(&hub_listener), &platform, seeded.property, &config.auth);
    show_users(&address_of(&hub_listener), &platform);
    show_jobs(&address_of(&hub_listener));
    show_events(&address_of(&hub_listener), &config.auth);
    if let Some(listener) = &gateway_listener {
        show_gateway(&address_of(listener));
    }
    println!("\nCtrl-C stops it.");

    let serving = async {
        let through_gateway = async {
            match gateway_listener {
                Some(listener) => serve::serve(listener, gateway, hub.stopping()).await,
                None => Ok(()),
            }
        };
        let all = async {
            tokio::try_join!(
                serve::serve(hub_listener, serve::router(hub.clone()), hub.stopping()),
                serve::serve(listener, app, hub.stopping()),
                through_gateway,
            )
        };
        tokio::select! {
            served = all => served.map(|_| ()),
            () = traffic.run(), if args.traffic > 0 => Ok(()),
        }
    };
    let outcome = until_stopped(&hub, signals, serving).await;
    workers.stop().await;
    println!("Stopped.");
    outcome
}

fn welcome(hub: &Hub, address: &str, platform: &str, embedded: bool) {
    println!("Sinew is running on this store: {}.", hub.sinew().store());
    if embedded {
        println!("It keeps nothing across a restart; --store redis://127.0.0.1:6379 does.");
    }
    println!(
        "
  Dashboard  http://{address}/
  Platform   {platform}/api/properties"
    );
}

fn show_cache(address: &str, platform: &str, property: i64, auth: &AuthSettings) {
    let tenant = TENANTS[0];
    let token = if auth.is_on() { TOKEN } else { "" };
    let bearer = bearer(auth);
    println!(
        "{token}
Read a property twice. X-Cache says hit the second time, or at once where the live requests have read it:
  curl -i -H 'X-Tenant-Id: {tenant}' {platform}/api/properties/{property}

Write one. The list of properties is fresh from then on:
  curl -i -H 'X-Tenant-Id: {tenant}' -H 'Content-Type: application/json' -d '{{\"address\": \"7 New Road\", \"monthlyRentCents\": 95000}}' {platform}/api/properties

See the first one's cache entry through the hub, as a service in any language would:
  curl -i -H 'X-Tenant-Id: {tenant}'{bearer} http://{address}/v1/cache/property/entries/{property}"
    );
}

fn show_users(address: &str, platform: &str) {
    let (tenant, user) = (TENANTS[0], USERS[0]);
    let (email, program) = (email_of(user), program());
    println!(
        "
Sign in as {user}, and keep the token:
  token=$(curl -sS -H 'X-Tenant-Id: {tenant}' -H 'Content-Type: application/json' -d '{{\"email\": \"{email}\", \"password\": \"{PASSWORD}\"}}' {platform}/api/auth/login | sed 's/.*\"accessToken\":\"\\([^\"]*\\)\".*/\\1/')

Ask who that is, and have a page made. It says by which model:
  curl -i -H 'X-Tenant-Id: {tenant}' -H \"Authorization: Bearer $token\" {platform}/api/users/me
  curl -i -H 'X-Tenant-Id: {tenant}' -H \"Authorization: Bearer $token\" -H 'Content-Type: application/json' -d '{{\"prompt\": \"a page for a bakery\"}}' {platform}/api/generator/projects

Have it made by the other model, from the next page on. The flag is of no tenant: it is for all of them:
  {program} flag set advanced-ai-models on --listen {address}"
    );
}

fn show_jobs(address: &str) {
    let program = program();
    println!(
        "
Have the invoices of this month written now, and mailed. Its jobs, which are of no tenant either, are on /jobs:
  {program} job recurring fire generate-monthly-invoices --listen {address}"
    );
}

fn show_events(address: &str, auth: &AuthSettings) {
    let bearer = bearer(auth);
    println!(
        "
Hear of orders, those that were placed and those that the live requests place now and then. Like the flag, they are
of no tenant, and say whose they are. Ctrl-C ends it:
  curl -N{bearer} 'http://{address}/v1/streams/orders/tail?from=start'"
    );
}

/// With which the hub's lines say who asks, where it wants to know.
fn bearer(auth: &AuthSettings) -> &'static str {
    if auth.is_on() { BEARER } else { "" }
}

/// As it was called: started by `cargo run`, it is in no PATH.
fn program() -> String {
    let name = std::env::args_os().next().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| "sinew".to_owned());
    match name.contains(char::is_whitespace) {
        true => format!("'{name}'"),
        false => name,
    }
}

fn show_gateway(address: &str) {
    let tenant = TENANTS[0];
    println!(
        "
  Gateway    http://{address}/api/properties

Ask it a dozen times. Of an address it admits ten at once, and answers 429 then:
  for n in $(seq 12); do curl -sS -o /dev/null -w '%{{http_code}}\\n' -H 'X-Tenant-Id: {tenant}' http://{address}/api/properties; done

Claim to be a user at another address. Nobody believes it: RateLimit names the limit \"anonymous\", used up by you:
  curl -i -H 'X-Tenant-Id: {tenant}' -H 'X-Forwarded-For: 203.0.113.9' -H 'X-User-Id: ada' http://{address}/api/properties

Only a proxy that a gateway trusts names client and user so, and this one trusts none."
    );
}
