//! stub
/// s
pub fn module() -> serde_json::Value {
    todo!()
}
/// s
pub fn pipeline() -> serde_json::Value {
    todo!()
}
/// s
pub fn settings() -> serde_json::Value {
    todo!()
}
