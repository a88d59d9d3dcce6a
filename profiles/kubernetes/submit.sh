#!/bin/sh
# Make a Job of Kubernetes from a script of Snakemake's, and print its name: submit.sh CORES MEGABYTES GPUS MINUTES SCRIPT
# PGJR_CLAIM names the volume claim that holds the clone, PGJR_VOLUME where it is mounted, here and in every pod.
set -eu
: "${PGJR_CLAIM:?name the volume claim that holds the clone}" "${PGJR_VOLUME:?name the folder where it is mounted}"
kubectl create --output=name --filename=- <<JOB
apiVersion: batch/v1
kind: Job
metadata:
  generateName: pgjr-
  labels: {app: pgjr}
spec:
  ttlSecondsAfterFinished: 86400
  backoffLimit: 0  # Snakemake tries again what failed
  podFailurePolicy:  # and Kubernetes what a lost node had
    rules:
      - action: Ignore
        onPodConditions: [{type: DisruptionTarget}]
  template:
    metadata:
      labels: {app: pgjr}
    spec:
      restartPolicy: Never
      activeDeadlineSeconds: $(($4 * 60))
      containers:
        - name: job
          image: ${PGJR_IMAGE:-python:3.11}
          command: [/bin/sh, "$5"]
          workingDir: "$PWD"
          env:
            - {name: PGJR_DATA, value: "${PGJR_DATA:-}"}
            - {name: OMP_WAIT_POLICY, value: passive}
          resources:
            requests: {cpu: "$1", memory: ${2}M}
            limits: {memory: ${2}M, nvidia.com/gpu: $3}
          volumeMounts:
            - {name: shared, mountPath: "$PGJR_VOLUME"}
      volumes:
        - name: shared
          persistentVolumeClaim: {claimName: $PGJR_CLAIM}
JOB
