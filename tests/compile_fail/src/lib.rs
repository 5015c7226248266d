//! Mistakes that are easily made, and whether the compiler's answer names the way out.

#[cfg(test)]
mod tests {
    #[test]
    fn compiler_errors_suggest_the_correction() {
        let cases = trybuild::TestCases::new();
        cases.pass("cases/as_it_should_be.rs");
        cases.compile_fail("cases/mistake_*.rs");
    }
}
