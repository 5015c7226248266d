// The MCP TypeScript SDK's `mcpAuthRouter` with the SDK's own demonstration provider, and an MCP endpoint behind it.
// Argument: how clients call it.
import express from 'express';
import { DemoInMemoryAuthProvider } from '@modelcontextprotocol/sdk/examples/server/demoInMemoryOAuthProvider.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { getOAuthProtectedResourceMetadataUrl, mcpAuthRouter } from '@modelcontextprotocol/sdk/server/auth/router.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

const [, , called] = process.argv;
const app = express();
const server = app.listen(0, '127.0.0.1', () => {
  const own = `http://127.0.0.1:${server.address().port}`;
  const issuerUrl = new URL(called ?? own);
  const resourceServerUrl = new URL('/mcp', issuerUrl);
  const provider = new DemoInMemoryAuthProvider();
  // How often is the guard's business here, and behind a proxy all come from one address.
  const unlimited = { rateLimit: false };
  app.use(
    mcpAuthRouter({
      provider,
      issuerUrl,
      resourceServerUrl,
      scopesSupported: ['mcp'],
      authorizationOptions: unlimited,
      clientRegistrationOptions: unlimited,
      tokenOptions: unlimited,
    }),
  );
  const resourceMetadataUrl = getOAuthProtectedResourceMetadataUrl(resourceServerUrl);
  app.all('/mcp', requireBearerAuth({ verifier: provider, resourceMetadataUrl }), express.json(), async (req, res) => {
    const mcp = new McpServer({ name: 'bench', version: '1.0.0' });
    mcp.registerTool('echo', { inputSchema: { text: z.string() } }, ({ text }) => ({ content: [{ type: 'text', text }] }));
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
    await mcp.connect(transport);
    await transport.handleRequest(req, res, req.body);
  });
  console.log(`listening on ${own}`);
});
