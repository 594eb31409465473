# The build stage has the C library of the Debian release that the final stage has: trixie, 13.
FROM rust:1-slim-trixie AS build
WORKDIR /build
# rust-toolchain.toml is not copied: with rustup in the image it would make each build download another toolchain.
# The image's compiler has to be at least rust-version of Cargo.toml, and cargo says so if it is not.

# The dependencies alone, on an empty program: a layer that is kept until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
# The benchmarks stay empty: they are not built here, but Cargo wants to see each file that Cargo.toml names.
RUN mkdir src benches && echo 'fn main() {}' > src/main.rs && touch src/lib.rs benches/inner.rs benches/coalescing.rs benches/footprint.rs \
 && cargo build --release --locked \
 && rm -r src

COPY . .
# Cargo compares times, and the program's files are older than the empty program's.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --bin stratus

# A new named volume takes owner and mode from the folder it is mounted over, so these are made for the user below.
# In a parent of their own, because COPY keeps the modes of what is in a folder, but not that of the folder itself.
RUN mkdir /volumes && mkdir -m 0700 /volumes/secrets /volumes/redis-secrets


# libc, CA certificates and nothing else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian13:nonroot
# `docker build --build-arg VERSION=…`; what it says of itself is in /status.
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="Stratus" \
      org.opencontainers.image.description="A caching, encrypting shield between weather apps and OpenWeatherMap" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build --chown=65532:65532 /volumes /
# Owned by root: the service cannot change its own program.
COPY --from=build /build/target/release/stratus /usr/local/bin/stratus
# By number, so that Kubernetes can tell that it is not root (runAsNonRoot).
USER 65532:65532
EXPOSE 3000
# /readyz through the program itself, because there is no shell and no curl; it gives up by itself after 5 s. The first
# probe comes one interval after the start, so a longer interval would hold up whoever waits for the service.
HEALTHCHECK --interval=5s --timeout=6s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/stratus", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/stratus"]
CMD ["serve"]
