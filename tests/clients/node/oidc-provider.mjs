// `oidc-provider` with registration (RFC 7591) and management (RFC 7592). Argument: the issuer, if it is not its own.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const own = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(process.argv[2] ?? own, {
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    registrationManagement: { enabled: true },
    revocation: { enabled: true },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  pkce: { required: () => true },
  // Without it, only those who ask for `offline_access` get a refresh token.
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
});
// It stands behind a proxy, and is called by its name.
provider.proxy = true;

// Somebody who is logged in, and agrees.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { params, prompt } = await provider.interactionDetails(ctx.req, ctx.res);
  const grant = new provider.Grant({ accountId: 'somebody', clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const consent = { grantId: await grant.save() };
  const result = prompt.name === 'login' ? { login: { accountId: 'somebody' }, consent } : { consent };
  await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
});

server.on('request', provider.callback());
console.log(`listening on ${own}`);
