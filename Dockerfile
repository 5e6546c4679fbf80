# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
ENV PYTHONUTF8=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /venv
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /venv/bin/python -m pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY app app
COPY templates templates
COPY migrations migrations
RUN /venv/bin/python -m pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
LABEL org.opencontainers.image.title="Zhuxue" \
      org.opencontainers.image.description="Case management of student financial aid for an education bureau" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/venv/bin:$PATH \
    PYTHONUTF8=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ZHUXUE_DATA_DIR=/data
RUN install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /venv /venv
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["zhuxue"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
