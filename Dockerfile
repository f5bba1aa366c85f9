# The image: built like everything else by ./run, then the program, its steps and the libraries they need.
# tests/deploy/container_test.py holds the packages below against what the programs are linked with.
FROM debian:12-slim AS build
WORKDIR /src
COPY . .
RUN ./run build release && strip build/release/millrace build/release/steps/*.so

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
    ca-certificates libbson-1.0-0 libcurl4 libdav1d6 libde265-0 libfmt9 libgcc-s1 libglib2.0-0 libheif1 libisal2 libjpeg62-turbo libmongoc-1.0-0 libre2-9 libseccomp2 \
    libsimdjson14 libspdlog1.10 libsqlite3-0 libssl3 libstdc++6 libturbojpeg0 libuv1 libvips42 libyaml-cpp0.7 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /var/lib/millrace millrace \
    && install -d -o millrace -g millrace -m 0700 /var/lib/millrace \
    && ln -s /usr/lib/millrace/millrace /usr/bin/millrace
COPY --from=build /src/build/release/millrace /usr/lib/millrace/
COPY --from=build /src/build/release/steps/*.so /usr/lib/millrace/steps/
COPY pipelines/*.yaml /usr/share/millrace/pipelines/
COPY deploy/millrace.yaml /etc/millrace/millrace.yaml
USER 10001:10001
VOLUME /var/lib/millrace
EXPOSE 8080
# Debian's slim image has no HTTP client; bash speaks to a socket.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r answer <&3 && [[ $answer == *' 200 '* ]]"]
ENTRYPOINT ["/usr/lib/millrace/millrace"]
CMD ["serve", "--config", "/etc/millrace/millrace.yaml"]
