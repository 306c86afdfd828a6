//! The rows, always of one user of one tenant.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use sinew::Tenant;

use super::error::UserError;
use super::notice::{self, Notice};
use super::preferences::{self, Preferences};
use super::profile::{self, Profile, ProfileInput};
use crate::database::Database;

/// How many notices a list has: the latest.
const NOTICES_LEN_MAX: u64 = 50;

#[derive(Clone)]
pub(super) struct Repository {
    database: Database,
}

impl Repository {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    pub(super) async fn profile(&self, tenant: &Tenant, user: &str) -> Result<Profile, UserError> {
        let row = profile::Entity::find_by_id(id(tenant, user))
            .one(self.database.query("profile"))
            .await?;
        Ok(row.map_or_else(|| Profile::empty(user), Profile::from))
    }

    pub(super) async fn write_profile(
        &self,
        tenant: &Tenant,
        user: &str,
        input: &ProfileInput,
    ) -> Result<Profile, UserError> {
        let (tenant_id, user_id) = id(tenant, user);
        let row = profile::Model {
            tenant_id,
            user_id,
            display_name: input.display_name.trim().to_owned(),
            about: input.about.clone(),
        };
        let latest = OnConflict::columns([profile::Column::TenantId, profile::Column::UserId])
            .update_columns([profile::Column::DisplayName, profile::Column::About])
            .to_owned();
        let written = profile::ActiveModel {
            tenant_id: Set(row.tenant_id.clone()),
            user_id: Set(row.user_id.clone()),
            display_name: Set(row.display_name.clone()),
            about: Set(row.about.clone()),
        };
        profile::Entity::insert(written)
            .on_conflict(latest)
            .exec_without_returning(self.database.query("write_profile"))
            .await?;
        Ok(row.into())
    }

    pub(super) async fn preferences(
        &self,
        tenant: &Tenant,
        user: &str,
    ) -> Result<Preferences, UserError> {
        let row = preferences::Entity::find_by_id(id(tenant, user))
            .one(self.database.query("preferences"))
            .await?;
        Ok(row.map(Preferences::from).unwrap_or_default())
    }

    pub(super) async fn write_preferences(
        &self,
        tenant: &Tenant,
        user: &str,
        input: &Preferences,
    ) -> Result<(), UserError> {
        let (tenant_id, user_id) = id(tenant, user);
        let row = preferences::ActiveModel {
            tenant_id: Set(tenant_id),
            user_id: Set(user_id),
            theme: Set(input.theme.clone()),
            language: Set(input.language.clone()),
            newsletter: Set(input.newsletter),
        };
        let latest =
            OnConflict::columns([preferences::Column::TenantId, preferences::Column::UserId])
                .update_columns([
                    preferences::Column::Theme,
                    preferences::Column::Language,
                    preferences::Column::Newsletter,
                ])
                .to_owned();
        preferences::Entity::insert(row)
            .on_conflict(latest)
            .exec_without_returning(self.database.query("write_preferences"))
            .await?;
        Ok(())
    }

    pub(super) async fn notices(
        &self,
        tenant: &Tenant,
        user: &str,
    ) -> Result<Vec<Notice>, UserError> {
        let rows = notice::Entity::find()
            .filter(notice::Column::TenantId.eq(tenant.as_str()))
            .filter(notice::Column::UserId.eq(user))
            .order_by_desc(notice::Column::Id)
            .limit(NOTICES_LEN_MAX)
            .all(self.database.query("notices"))
            .await?;
        Ok(rows.into_iter().map(Notice::from).collect())
    }

    /// Writes the notice of an event of this name. Whether it is the first time: otherwise it is written.
    pub(super) async fn write_notice(
        &self,
        tenant: &Tenant,
        user: &str,
        event: String,
        (kind, words, happened_at): (&str, String, String),
    ) -> Result<bool, UserError> {
        let (tenant_id, user_id) = id(tenant, user);
        let row = notice::ActiveModel {
            tenant_id: Set(tenant_id),
            user_id: Set(user_id),
            event: Set(event),
            kind: Set(kind.to_owned()),
            words: Set(words),
            happened_at: Set(happened_at),
            ..Default::default()
        };
        let once = OnConflict::column(notice::Column::Event).do_nothing().to_owned();
        let written = notice::Entity::insert(row)
            .on_conflict(once)
            .exec_without_returning(self.database.query("write_notice"))
            .await;
        match written {
            Ok(0) | Err(DbErr::RecordNotInserted) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn id(tenant: &Tenant, user: &str) -> (String, String) {
    (tenant.as_str().to_owned(), user.to_owned())
}
