//! Data for a demonstration.

use jiff::civil::date;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, DbErr, EntityTrait, TransactionTrait};
use sinew::Tenant;

use super::{PASSWORD, TENANTS, USERS, email_of};
use crate::auth::{self, AuthError};
use crate::billing::usage;
use crate::database::Database;
use crate::rent_tracker::payment::{self};
use crate::rent_tracker::{Repository, property};

mod demo_seed {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "demo_seed")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) tenant_id: String,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

const STREETS: [&str; 6] = ["Elm", "Oak", "Station", "Mill", "Church", "Harbour"];
const PROPERTIES_PER_TENANT: usize = 24;
const PAYMENTS_PER_PROPERTY: i8 = 3;
const DAYS_OF_USE: i8 = 5;

/// What [`seed`] found or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// The id of a property of the first tenant.
    pub property: i64,
    /// The database was empty: what caches hold of another one is wrong.
    pub is_new: bool,
}

/// Gives each of [`TENANTS`] its properties and payments, its users, and what they used, once in the life of a
/// database.
///
/// # Errors
/// When the database fails.
pub async fn seed(database: &Database) -> Result<Seeded, DbErr> {
    let mut is_new = false;
    for tenant in TENANTS {
        is_new |= seed_tenant(database, tenant).await?;
    }
    seed_accounts(database).await?;
    let tenant = Tenant::new(TENANTS[0]).map_err(custom)?;
    let properties = Repository::new(database.clone()).properties(&tenant).await;
    let properties = properties.map_err(custom)?;
    // Someone may have deleted all of them.
    let property = properties.first().map_or(1, |property| property.id);
    Ok(Seeded { property, is_new })
}

/// Whether it had none yet.
async fn seed_tenant(database: &Database, tenant: &str) -> Result<bool, DbErr> {
    let transaction = database.query("seed").begin().await?;
    // Of several processes that start together, the one that writes this row goes on.
    let mark = demo_seed::ActiveModel { tenant_id: Set(tenant.to_owned()) };
    let once = OnConflict::column(demo_seed::Column::TenantId).do_nothing().to_owned();
    let marked = demo_seed::Entity::insert(mark)
        .on_conflict(once)
        .exec_without_returning(&transaction)
        .await;
    match marked {
        Ok(0) | Err(DbErr::RecordNotInserted) => return Ok(false),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    for n in 0..PROPERTIES_PER_TENANT {
        let street = STREETS[n % STREETS.len()];
        let rent = 80_000 + i64::try_from(n).unwrap_or_default() * 2_500;
        let row = property::ActiveModel {
            tenant_id: Set(tenant.to_owned()),
            address: Set(format!("{} {street} Street", n + 1)),
            monthly_rent_cents: Set(rent),
            row_version: Set(1),
            ..Default::default()
        };
        let row = property::Entity::insert(row).exec_with_returning(&transaction).await?;
        let payments = (0..PAYMENTS_PER_PROPERTY).map(|month| payment::ActiveModel {
            tenant_id: Set(tenant.to_owned()),
            property_id: Set(row.id),
            amount_cents: Set(rent),
            paid_on: Set(date(2026, 8 + month, 1).to_string()),
            row_version: Set(1),
            ..Default::default()
        });
        payment::Entity::insert_many(payments).exec_without_returning(&transaction).await?;
    }
    let used = USERS.iter().flat_map(|user| {
        (1..=DAYS_OF_USE).map(|day| usage::ActiveModel {
            tenant_id: Set(tenant.to_owned()),
            user_id: Set((*user).to_owned()),
            used_on: Set(date(2026, 10, day).to_string()),
            units: Set(i64::from(day) * 10),
            ..Default::default()
        })
    });
    usage::Entity::insert_many(used).exec_without_returning(&transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Makes those that are missing: a database from before there were accounts has none.
async fn seed_accounts(database: &Database) -> Result<(), DbErr> {
    let accounts = auth::Repository::new(database.clone());
    let hash = tokio::task::spawn_blocking(|| auth::hash_of(PASSWORD)).await.map_err(custom)?;
    // One for all: the password is no secret.
    let hash = hash.map_err(custom)?;
    for tenant in TENANTS {
        let tenant = Tenant::new(tenant).map_err(custom)?;
        for user in USERS {
            let email = email_of(user);
            match accounts.insert(&tenant, user.to_owned(), email, hash.clone()).await {
                Ok(_) | Err(AuthError::Taken) => {}
                Err(error) => return Err(custom(error)),
            }
        }
    }
    Ok(())
}

fn custom(error: impl std::fmt::Display) -> DbErr {
    DbErr::Custom(error.to_string())
}
