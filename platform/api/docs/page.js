// Nothing is loaded from elsewhere: no fonts, no telemetry, no proxy, no hosted assistant.
Scalar.createApiReference('#reference', {
  url: '/openapi.json',
  agent: { disabled: true },
  authentication: { preferredSecurityScheme: 'bearer' },
  hideClientButton: true,
  mcp: { disabled: true },
  persistAuth: false,
  showDeveloperTools: 'never',
  tagsSorter: 'alpha',
  telemetry: false,
  withDefaultFonts: false,
})
