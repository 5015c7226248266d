fn main() {
    let _ = tower_dcr::mcp().with_sink("registrations.jsonl");
}
