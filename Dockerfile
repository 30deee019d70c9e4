# gradclip on CPUs. Runs are stored in the volume:
#   docker build --tag gradclip .
#   docker run --rm --volume gradclip-runs:/home/gradclip/mlruns gradclip train clip=norm clip.value=1.0
FROM python:3.13-slim
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_NO_CACHE_DIR=1
WORKDIR /project
COPY constraints.txt .
RUN python -m pip install --constraint constraints.txt torch==2.13.0
COPY . .
RUN python -m pip install --constraint constraints.txt '.[pipeline]'

RUN useradd --create-home gradclip && install --directory --owner gradclip /home/gradclip/mlruns
USER gradclip
WORKDIR /home/gradclip
VOLUME /home/gradclip/mlruns
ENTRYPOINT ["gradclip"]
CMD ["--help"]
