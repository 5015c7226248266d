// What Express reads of a request, with its body-parser.
import express from 'express';

const app = express();
// The default of Express 4, which most of its guides are about.
app.set('query parser', 'extended');
app.use('/.well-known', (_, res) => res.sendStatus(404));
app.use((req, _, next) => {
  req.length = Number(req.headers['content-length'] ?? 0);
  next();
});
app.use(express.json({ type: ['json', '+json'], verify: (req, _, raw) => void ((req.length = raw.length), (req.was = 'json')) }));
app.use(express.urlencoded({ extended: true, verify: (req, _, raw) => void ((req.length = raw.length), (req.was = 'form')) }));

// What raises was a 400.
const answer = (req, res) => {
  const [scheme, credentials] = (req.headers.authorization ?? '').trim().split(/ +/);
  const basic = scheme.toLowerCase() === 'basic' ? Buffer.from(credentials ?? '', 'base64').toString().split(':')[0] : null;
  res.json({
    method: req.method,
    path: req.path,
    type: req.headers['content-type'] ?? null,
    length: req.length,
    query: req.query,
    form: req.was === 'form' ? (req.body ?? null) : null,
    json: req.was === 'json' ? (req.body ?? null) : null,
    basic,
    headers: req.headers,
  });
};
app.use(answer);
app.use((error, req, res, next) => {
  req.body = undefined;
  answer(req, res);
});
const server = app.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
