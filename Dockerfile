# docker build -t homecore .
# One static binary in an image that holds nothing else: no shell, no package manager, not root.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src

# The modules first: they change less often than the code.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download

COPY . .
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags="-s -w" -o /homecore ./cmd/homecore

# Brings the root certificates (SMTP, payment and sign-in providers) and the time zones.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /homecore /homecore
USER nonroot:nonroot

# Loopback is of no use in a container.
ENV HOMECORE_LISTEN=0.0.0.0:8080
EXPOSE 8080

# No HEALTHCHECK: GET /up says that it lives, GET /ready that it can serve, and whoever runs the container asks.
ENTRYPOINT ["/homecore"]
CMD ["serve"]
