//! The rows, always of one user of one tenant.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait};
use sinew::Tenant;

use super::error::UserError;
use super::preferences::{self, Preferences};
use super::profile::{self, Profile, ProfileInput};
use crate::database::Database;

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
}

fn id(tenant: &Tenant, user: &str) -> (String, String) {
    (tenant.as_str().to_owned(), user.to_owned())
}
