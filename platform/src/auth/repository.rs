//! The rows, always of one tenant.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, SqlErr};
use sinew::Tenant;

use super::account::{self, Account};
use super::error::AuthError;
use crate::database::Database;

#[derive(Clone)]
pub(crate) struct Repository {
    database: Database,
}

impl Repository {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    pub(super) async fn create(
        &self,
        tenant: &Tenant,
        email: String,
        password_hash: String,
    ) -> Result<Account, AuthError> {
        // A name, and no secret.
        let user_id = format!("{:032x}", fastrand::u128(..));
        self.insert(tenant, user_id, email, password_hash).await
    }

    /// An account under a user id that is known elsewhere.
    pub(crate) async fn insert(
        &self,
        tenant: &Tenant,
        user_id: String,
        email: String,
        password_hash: String,
    ) -> Result<Account, AuthError> {
        let row = account::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            user_id: Set(user_id),
            email: Set(email),
            password_hash: Set(password_hash),
            ..Default::default()
        };
        let row = account::Entity::insert(row)
            .exec_with_returning(self.database.query("create_account"))
            .await
            .map_err(|error| match error.sql_err() {
                Some(SqlErr::UniqueConstraintViolation(_)) => AuthError::Taken,
                _ => error.into(),
            })?;
        Ok(row.into())
    }

    /// With the hash of its password.
    pub(super) async fn by_email(
        &self,
        tenant: &Tenant,
        email: &str,
    ) -> Result<Option<account::Model>, AuthError> {
        let row = account::Entity::find()
            .filter(account::Column::TenantId.eq(tenant.as_str()))
            .filter(account::Column::Email.eq(email))
            .one(self.database.query("account_by_email"))
            .await?;
        Ok(row)
    }

    pub(crate) async fn account(&self, tenant: &Tenant, user: &str) -> Result<Account, AuthError> {
        let row = account::Entity::find()
            .filter(account::Column::TenantId.eq(tenant.as_str()))
            .filter(account::Column::UserId.eq(user))
            .one(self.database.query("account"))
            .await?;
        row.map(Account::from).ok_or(AuthError::NoAccount)
    }
}
