{{- define "levelsync.name" -}}levelsync-{{ . }}{{- end }}

{{- define "levelsync.selector" -}}
app.kubernetes.io/name: levelsync
app.kubernetes.io/instance: {{ .root.Release.Name }}
levelsync/node: {{ .node | quote }}
{{- end }}

{{- define "levelsync.labels" -}}
{{ include "levelsync.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "levelsync.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}
{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}
