# The image of the web service and the worker. durable-rules is C source only, so its wheel is built where a compiler is;
# what runs has no compiler, no pip, and is nobody's root.
#
# The same sources give the same image: packages are pinned, bytecode is checked by hash and not by time, and
#   docker buildx build --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) --output type=image,rewrite-timestamp=true .
# sets every time stamp. Hold the base to one build of it with --build-arg BASE=python@sha256:..., the digest that
#   docker buildx imagetools inspect python:3.12-slim-bookworm
# names.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements.txt .
RUN grep '^durable_rules' requirements.txt > source.txt && pip wheel --no-deps --wheel-dir /wheels -r source.txt
RUN python -m venv --without-pip /venv
RUN pip --python /venv/bin/python install --no-compile --only-binary :all: --find-links /wheels -r requirements.txt
RUN /venv/bin/python -c "import durable_rules_engine"
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /venv/lib

FROM ${BASE}
RUN useradd --no-create-home --uid 10001 signalbox && pip uninstall --yes --quiet pip
COPY --from=build /venv /venv
WORKDIR /signalbox
COPY main.py ./
COPY app app
COPY rules rules
COPY templates templates
COPY static static
COPY deploy deploy
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash app rules main.py
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SIGNALBOX_ENV=production SIGNALBOX_DATA=/tmp/data
USER signalbox
EXPOSE 8080
ENTRYPOINT ["python", "main.py"]
CMD ["web"]
