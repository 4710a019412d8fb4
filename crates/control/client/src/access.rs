//! The calls about users, tokens, tenants and the audit log.

use quarry_api_types::{
    AuditEntries, AuditQuery, AuditVerification, ChangeTenant, CreateTenant, CreateToken, CreateUser, Login,
    Name, NewToken, Session, SetPassword, Tenant, Token, User, VerifyAudit,
};
use reqwest::Method;

use crate::{Client, Result};

impl Client {
    /// A token for user and password.
    pub async fn log_in(&self, request: &Login) -> Result<NewToken> {
        self.post("/v1/login", request).await
    }

    /// Who the node takes this client for.
    pub async fn show_session(&self) -> Result<Session> {
        self.get("/v1/session").await
    }

    /// Ends the token of this client.
    pub async fn log_out(&self) -> Result<()> {
        self.delete("/v1/session").await
    }

    /// Every user.
    pub async fn list_users(&self) -> Result<Vec<User>> {
        self.get("/v1/users").await
    }

    /// Makes a user.
    pub async fn create_user(&self, request: &CreateUser) -> Result<User> {
        self.post("/v1/users", request).await
    }

    /// One user.
    pub async fn show_user(&self, name: &Name) -> Result<User> {
        self.get(&format!("/v1/users/{name}")).await
    }

    /// Ends a user.
    pub async fn delete_user(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/users/{name}")).await
    }

    /// Gives a user another password.
    pub async fn set_password(&self, name: &Name, request: &SetPassword) -> Result<()> {
        let call = self.request(Method::PUT, &format!("/v1/users/{name}/password")).json(request);
        self.accept(self.send(call).await?).await.map(drop)
    }

    /// Tokens.
    pub async fn list_tokens(&self, user: Option<&Name>) -> Result<Vec<Token>> {
        let wanted: Vec<_> = user.iter().map(|user| ("user", user.as_str())).collect();
        self.json(self.request(Method::GET, "/v1/tokens").query(&wanted)).await
    }

    /// Makes a token.
    pub async fn create_token(&self, request: &CreateToken) -> Result<NewToken> {
        self.post("/v1/tokens", request).await
    }

    /// Ends a token.
    pub async fn revoke_token(&self, id: &str) -> Result<()> {
        self.delete(&format!("/v1/tokens/{id}")).await
    }

    /// Every tenant.
    pub async fn list_tenants(&self) -> Result<Vec<Tenant>> {
        self.get("/v1/tenants").await
    }

    /// Makes a tenant.
    pub async fn create_tenant(&self, request: &CreateTenant) -> Result<Tenant> {
        self.post("/v1/tenants", request).await
    }

    /// One tenant.
    pub async fn show_tenant(&self, name: &Name) -> Result<Tenant> {
        self.get(&format!("/v1/tenants/{name}")).await
    }

    /// Gives a tenant other pools or bounds.
    pub async fn change_tenant(&self, name: &Name, request: &ChangeTenant) -> Result<Tenant> {
        self.json(self.request(Method::PATCH, &format!("/v1/tenants/{name}")).json(request)).await
    }

    /// Ends a tenant.
    pub async fn delete_tenant(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/tenants/{name}")).await
    }

    /// A part of the audit log, the oldest first.
    pub async fn list_audit(&self, query: &AuditQuery) -> Result<AuditEntries> {
        self.json(self.request(Method::GET, "/v1/audit").query(query)).await
    }

    /// Whether the audit log is what was written.
    pub async fn verify_audit(&self, known: &VerifyAudit) -> Result<AuditVerification> {
        self.json(self.request(Method::GET, "/v1/audit/verification").query(known)).await
    }
}
