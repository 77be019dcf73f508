# One image for web, worker, beat and migrations; docker-compose.yml has the command of each.

# The dependencies, from wheels only, each with a hash: the image needs no compiler.
FROM python:3.12-slim@sha256:2f17fc044b579bab302c2e8054d3a686e2cb9a83de48e70534b94cd8ebbe06a9 AS build
COPY requirements.txt .
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --require-hashes --requirement requirements.txt

FROM python:3.12-slim@sha256:2f17fc044b579bab302c2e8054d3a686e2cb9a83de48e70534b94cd8ebbe06a9
# A fixed number, so that an orchestrator can check that it is not root.
RUN useradd --system --uid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin energy
ENV PATH=/app/bin:/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
# Only what runs, owned by root: the service can't change its own code.
COPY alembic.ini celeryconfig.py ./
COPY deploy/health.py deploy/
COPY deploy/energy bin/
COPY migrations migrations
COPY models models
COPY workers workers
COPY webapp webapp
COPY loadtool loadtool
USER 10001
EXPOSE 8000
# The default is the web in one process; docker-compose.yml has the flags of a deployment.
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", "--factory", "--no-ws", \
     "--http", "1", "--blocking-threads", "64", "--log-config", "webapp/granian_logs.json", "webapp:create_app"]
