fn main() {
    let _ = tower_dcr::mcp().add_rule(|submission| {
        submission.begin("mine");
        Ok(())
    });
}
