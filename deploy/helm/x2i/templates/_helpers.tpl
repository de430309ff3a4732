{{/* Names and parts that several templates share. */}}

{{- define "x2i.name" -}}
{{- printf "%s-x2i" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "x2i.labels" -}}
app.kubernetes.io/name: x2i
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "x2i.selector" -}}
app.kubernetes.io/name: x2i
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "x2i.secret" -}}
{{- .Values.secrets.existing | default (include "x2i.name" .) -}}
{{- end -}}

{{/* The name of a model as one token of a subject, as native/serve makes it. */}}
{{- define "x2i.token" -}}
{{- . | replace "=" "=3d" | replace "." "=2e" | replace "/" "=2f" -}}
{{- end -}}

{{- define "x2i.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "x2i.volumes" -}}
- name: tmp
  emptyDir: {}
- name: models
{{- if .Values.models.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.models.existingClaim }}
{{- else }}
  emptyDir:
    sizeLimit: {{ .Values.models.emptyDirSize }}
{{- end }}
{{- end -}}

{{- define "x2i.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: models, mountPath: /models}
{{- end -}}

{{- define "x2i.queue-env" -}}
- name: X2I_QUEUE
  valueFrom:
    secretKeyRef:
      name: {{ include "x2i.secret" . }}
      key: nats-url
{{- end -}}
