//! The documentation of rejections by layers, outside of a policy's rules.

use crate::rules::RuleDocs;

/// The rejections before the policy is evaluated, in the order in which a request meets them.
pub(crate) static BEFORE_POLICY: [RuleDocs; 10] = [
    RuleDocs {
        id: "audit",
        protects: "The completeness of the audit trail: registrations are rejected while the sink can't take events.",
        reference: "RFC 7591 section 5",
        attack: "Fill the disk, then register without a trace.",
        loosen: "In code: a sink whose `is_ready` is true, such as `JsonLines` with `Overflow::Count`.",
        opens: "Registrations whose events are lost and only counted.",
        replayable: false,
    },
    RuleDocs {
        id: "rate-limit",
        protects: "The table of clients, and its operators, from floods.",
        reference: "RFC 7591 section 5: rate-limit what \"an open registration endpoint\" takes; RFC 6585 section 4",
        attack: "Register ten thousand clients from one address, or from one IPv6 network.",
        loosen: "rate_limit.address = \"120/minute, burst 600\", which most other budgets follow, or \"off\"; rate_limit.global",
        opens: "Any number of clients from one address.",
        replayable: false,
    },
    RuleDocs {
        id: "registration-closed",
        protects: "A server that takes no new clients. Registered ones go on.",
        reference: "RFC 7591 section 3 does not require an open endpoint; RFC 9110 section 15.5.4 for the 403",
        attack: "Register one more client after the last one that was expected.",
        loosen: "registration = \"open\"",
        opens: "Registration, under the policy.",
        replayable: false,
    },
    RuleDocs {
        id: "initial-access-token",
        protects: "Registration from callers without a token.",
        reference: "RFC 7591 section 3.1, RFC 6750 section 3.1",
        attack: "Register without a token, with one that is over, or once more with one that admits one client.",
        loosen: "initial_access_tokens.required = false",
        opens: "Registration for any caller, under the rules for anonymous ones.",
        replayable: false,
    },
    RuleDocs {
        id: "origin",
        protects: "Registration from web pages of other origins, sent by the browser of a person with access.",
        reference: "RFC 6454; the Fetch standard, section 3.1",
        attack: "A page that registers a client from the browser of an employee, behind the firewall.",
        loosen: "initial_access_tokens.add_allowed_origins = [\"https://app.example.com\"]",
        opens: "Registration from pages of that origin.",
        replayable: false,
    },
    RuleDocs {
        id: "method",
        protects: "The handler from methods that the policy does not evaluate.",
        reference: "RFC 7591 section 3.1, RFC 7592 section 2",
        attack: "PATCH /register, or PUT /register: a handler that takes it as POST registers without a token.",
        loosen: "Not possible: put the layer only on routes for registration.",
        opens: "A way around every other rule.",
        replayable: false,
    },
    RuleDocs {
        id: "client-url",
        protects: "Clients from requests whose URL the server reads as that of another client.",
        reference: "RFC 7592 section 2, RFC 3986 section 2.3",
        attack: "PUT /register/ID/ or /register/I%44 for a revoked client: an unknown client here, the revoked one to the server.",
        loosen: "client_url.in_query, client_url.trailing_slash, client_url.additional_characters, client_url.query_parameters, as the server writes them.",
        opens: "Nothing, if the server reads URLs in this form.",
        replayable: false,
    },
    RuleDocs {
        id: "media-type",
        protects: "The handler from bodies that the policy can't read.",
        reference: "RFC 7591 section 3.1 (application/json)",
        attack: "Send the registration as text/plain, or gzip-encoded, so that no rule evaluates it.",
        loosen: "Not possible: decode bodies in a layer outside of this one.",
        opens: "A way around every other rule.",
        replayable: false,
    },
    RuleDocs {
        id: "body",
        protects: "Memory and connections from bodies that are too large, too slow or broken off.",
        reference: "RFC 9110 sections 15.5.9 and 15.5.14",
        attack: "Send a gigabyte, or one byte a minute.",
        loosen: "body.max_bytes = 65536; body_deadline = \"30s\"",
        opens: "That much memory, and that much time, for each connection.",
        replayable: false,
    },
    RuleDocs {
        id: "strict-json",
        protects: "The handler from a document that it reads differently than the rules.",
        reference: "RFC 8259 section 4 (duplicate names are unpredictable), RFC 7493",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"redirect_uris\":[\"https://evil.example.net/\"]}",
        loosen: "Only limits can be changed: body.max_depth, body.max_members, body.max_array, body.max_string",
        opens: "Larger documents. Duplicates and trailing bytes stay rejected.",
        replayable: false,
    },
];

/// The rejections after the policy was evaluated.
pub(crate) static AFTER_POLICY: [RuleDocs; 2] = [
    RuleDocs {
        id: "lifecycle",
        protects: "The server from revoked clients that register again, and the table of clients from unlimited growth.",
        reference: "RFC 7592 section 5; RFC 7591 section 3.2.2",
        attack: "Register a client again that was revoked a minute ago: MCP clients do this by themselves.",
        loosen: "Remove the block (`dcr clients unblock`, `Registrar::unblock`, or the administration page); lifecycle.max_clients = 100000",
        opens: "Registration of the revoked client.",
        replayable: false,
    },
    RuleDocs {
        id: "answer",
        protects: "Clients from answers on which they fail: a success without a client_id, or with redirect URIs that were \
                   not requested; a secret for a public client; errors and redirects without JSON.",
        reference: "RFC 7591 sections 3.2.1 and 3.2.2",
        attack: "A handler that answers 200 with an error in it, or issues a secret to every client and then requires it.",
        loosen: "answer.secret = \"strip\", or { allow = [\"client_secret_basic\"] }; answer.errors = \"pass\"",
        opens: "Clients that are confidential to the server and send no secret; errors that clients can't read.",
        replayable: false,
    },
];
