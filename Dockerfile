# The image of the web service and the worker. durable-rules is C source only, so it is built where a compiler is; what
# runs has none, no shell of its own making, and is nobody's root.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt \
    && /venv/bin/python -c "import durable_rules_engine"

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 signalbox
COPY --from=build /venv /venv
WORKDIR /signalbox
COPY main.py ./
COPY app app
COPY rules rules
COPY templates templates
COPY static static
COPY deploy deploy
RUN /venv/bin/python -m compileall -q app rules main.py
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SIGNALBOX_ENV=production SIGNALBOX_DATA=/tmp/data
USER signalbox
EXPOSE 8080
ENTRYPOINT ["python", "main.py"]
CMD ["web"]
