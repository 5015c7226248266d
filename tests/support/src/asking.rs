//! Requests to running servers.

use reqwest::Response;
use serde_json::Value;

use crate::running::Running;

impl Running {
    pub async fn register(&self, body: &Value) -> (u16, Value) {
        let response = self.client.post(format!("{}/register", self.base)).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap()
    }
}
