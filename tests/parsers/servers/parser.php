<?php
// What PHP reads of a request: `php -S ADDRESS parser.php`.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (str_starts_with((string) $path, '/.well-known/')) {
    http_response_code(404);
    return;
}
$body = file_get_contents('php://input');
$type = $_SERVER['CONTENT_TYPE'] ?? null;
$form = $_POST;
// Symfony's `Request::createFromGlobals` does this for the methods that PHP itself reads no form of.
if ($_SERVER['REQUEST_METHOD'] !== 'POST' && str_starts_with((string) $type, 'application/x-www-form-urlencoded')) {
    parse_str($body, $form);
}
header('content-type: application/json');
echo json_encode([
    'method' => $_SERVER['REQUEST_METHOD'],
    'path' => $path,
    'type' => $type,
    'length' => strlen($body),
    'query' => (object) $_GET,
    'form' => (object) $form,
    'merged' => (object) $_REQUEST,
    // As Laravel's `Request::isJson`.
    'json' => $type !== null && preg_match('~[/+]json~i', $type) ? json_decode($body) : null,
    'basic' => $_SERVER['PHP_AUTH_USER'] ?? null,
    'headers' => array_change_key_case(getallheaders()),
], JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR);
