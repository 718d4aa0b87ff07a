# Images that serve Basalt: target "cpu" (the default) and target "cuda".
#
#   podman build -t basalt:cpu .
#   podman build -t basalt:cuda --target cuda .
#
# Both start as a user without rights, write to /tmp and the volume /cache alone, and need no shell.

ARG BUILD_IMAGE=docker.io/library/maven:3.9-eclipse-temurin-25
ARG CUDA_BUILD_IMAGE=docker.io/nvidia/cuda:13.0.1-devel-ubuntu24.04
ARG CPU_IMAGE=gcr.io/distroless/base-debian12
ARG CUDA_IMAGE=docker.io/nvidia/cuda:13.0.1-runtime-ubuntu24.04

# ---- What is not Java: kernels for the GPU. Only target cuda waits for it.

FROM ${BUILD_IMAGE} AS jcublas
WORKDIR /build
RUN mvn -B -ntp -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact=org.jcuda:jcublas-natives:12.6.0:jar:linux-x86_64 -DoutputDirectory=/jcublas

FROM ${CUDA_BUILD_IMAGE} AS kernels
RUN command -v unzip || \
    (apt-get update -q && apt-get install -y -q --no-install-recommends unzip && rm -rf /var/lib/apt/lists/*)
COPY --from=jcublas /jcublas/*.jar /jcublas.jar
COPY native /build/native
RUN sh /build/native/build.sh /build/native/target /jcublas.jar

# ---- Jars and runtime of both targets, then the start-up cache of each.

FROM ${BUILD_IMAGE} AS jars
WORKDIR /build
COPY . .
RUN sh container/assemble.sh /opt/basalt jars && mkdir -p /opt/volumes/cache

FROM jars AS build-cpu
RUN sh container/assemble.sh /opt/basalt cpu

FROM jars AS build-cuda
COPY --from=kernels /build/native/target/classes /kernels
RUN sh container/assemble.sh /opt/basalt cuda /kernels

# ---- Images.

FROM ${CUDA_IMAGE} AS cuda
ARG VERSION=unversioned
ARG REVISION=unknown
# Where the sources are, and when they were committed, as RFC 3339 has it.
ARG SOURCE=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Basalt" \
    org.opencontainers.image.description="Text generation server for BASED language models, with CUDA" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.documentation="docs/OPERATIONS.md" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build-cuda /opt/basalt /opt/basalt
# Folder of downloaded models, whose owner a volume takes that is mounted there.
COPY --from=jars --chown=65532:65532 /opt/volumes /
ENV BASALT_HOST=0.0.0.0 BASALT_OPS_PORT=8081 HF_HOME=/cache NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/basalt/jre/bin/java", "@/opt/basalt/health.args"]
ENTRYPOINT ["/opt/basalt/jre/bin/java", "@/opt/basalt/basalt.args"]
CMD ["serve"]

FROM ${CPU_IMAGE} AS cpu
ARG VERSION=unversioned
ARG REVISION=unknown
# Where the sources are, and when they were committed, as RFC 3339 has it.
ARG SOURCE=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Basalt" \
    org.opencontainers.image.description="Text generation server for BASED language models, on the CPU" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.documentation="docs/OPERATIONS.md" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build-cpu /opt/basalt /opt/basalt
# Folder of downloaded models, whose owner a volume takes that is mounted there.
COPY --from=jars --chown=65532:65532 /opt/volumes /
ENV BASALT_HOST=0.0.0.0 BASALT_OPS_PORT=8081 HF_HOME=/cache
USER 65532:65532
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/opt/basalt/jre/bin/java", "@/opt/basalt/health.args"]
ENTRYPOINT ["/opt/basalt/jre/bin/java", "@/opt/basalt/basalt.args"]
CMD ["serve"]
