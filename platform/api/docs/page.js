// Nothing is loaded from elsewhere: no fonts, no telemetry, no proxy, no hosted assistant.
Scalar.createApiReference('#reference', {
  url: '/openapi.json',
  agent: { disabled: true },
  hideClientButton: true,
  mcp: { disabled: true },
  persistAuth: false,
  showDeveloperTools: 'never',
  telemetry: false,
  withDefaultFonts: false,
})
