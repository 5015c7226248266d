fn main() {
    let _ = tower_dcr::mcp().add_rule("redirect_uris");
}
