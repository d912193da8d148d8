import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;

/**
 * A window from Java 17, without a library: looks a resident up, then follows all of them.
 *
 * java Follow.java KEY [COUNT]: ends at the first watermark after COUNT changes; without it, never.
 */
public class Follow {
    static final String WINDOW =
            System.getenv().getOrDefault("LEVELSYNC_WINDOW", "http://127.0.0.1:8700");
    static final String TOKEN = System.getenv().getOrDefault("LEVELSYNC_TOKEN", "");
    /** A window says something every second. After so much silence the line is dead. */
    static final Duration SILENCE = Duration.ofSeconds(15);
    static final Path POSITION = Path.of("java.position");

    static final HttpClient client =
            HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();
    static volatile long heard;
    static long left;

    public static void main(String[] args) throws Exception {
        lookUp(args[0]);
        left = args.length > 1 ? Long.parseLong(args[1]) : Long.MAX_VALUE;
        long pause = 100;
        while (true) {
            String token = Files.exists(POSITION) ? Files.readString(POSITION).strip() : null;
            try {
                follow(token);
                pause = 100;
            } catch (IOException cut) {
                System.err.println(cut + "; again in " + pause + " ms");
                pause = Math.min(pause * 2, 10_000);
            }
            Thread.sleep(pause + ThreadLocalRandom.current().nextLong(pause));
        }
    }

    static HttpRequest.Builder request(String path) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(WINDOW + path));
        if (!TOKEN.isEmpty()) request.header("Authorization", "Bearer " + TOKEN);
        return request;
    }

    static void lookUp(String key) throws Exception {
        String segment = URLEncoder.encode(key, StandardCharsets.UTF_8).replace("+", "%20");
        HttpResponse<String> answer = client.send(
                request("/v1/resident.v2/records/" + segment).timeout(Duration.ofSeconds(10)).build(),
                HttpResponse.BodyHandlers.ofString());
        String asOf = answer.headers().firstValue("Complete-As-Of").orElse("unknown");
        System.out.println(answer.statusCode() + " complete as of " + asOf);
        System.out.println(answer.body());
    }

    /** Follow until the line ends. */
    static void follow(String token) throws Exception {
        HttpRequest.Builder request =
                request("/v1/resident.v2/events" + (token == null ? "?from=state" : ""));
        if (token != null) request.header("Last-Event-ID", token);
        HttpResponse<InputStream> answer =
                client.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
        InputStream body = answer.body();
        int status = answer.statusCode();
        if (status == 410) { // what happened meanwhile is gone: begin with the state
            System.out.println("position lost");
            Files.deleteIfExists(POSITION);
            return;
        }
        if (status == 429 || status >= 500) throw new IOException("status " + status);
        if (status != 200) {
            System.err.println(new String(body.readAllBytes(), StandardCharsets.UTF_8));
            System.exit(1); // 400, 401, 403, 404: it would not go better another time
        }
        if (token == null) System.out.println("state: forget what you hold");
        heard = System.nanoTime();
        Thread watch = watch(body);
        try (BufferedReader lines =
                new BufferedReader(new InputStreamReader(body, StandardCharsets.UTF_8))) {
            String event = "", id = null, line;
            List<String> data = new ArrayList<>();
            while ((line = lines.readLine()) != null) {
                heard = System.nanoTime();
                if (line.startsWith("event: ")) event = line.substring(7);
                else if (line.startsWith("id: ")) id = line.substring(4);
                else if (line.startsWith("data: ")) data.add(line.substring(6));
                else if (line.isEmpty() && !data.isEmpty()) {
                    handle(event, String.join("\n", data)); // first handle, then save
                    if (id != null) save(token = id); // none within the state
                    if (token != null && left <= 0 && event.equals("watermark")) System.exit(0);
                    event = "";
                    id = null;
                    data.clear();
                }
            }
        } finally {
            watch.interrupt();
        }
    }

    static void handle(String event, String json) {
        switch (event) {
            case "change" -> { // read it with the JSON library of your choice
                System.out.println("change " + json);
                left--;
            }
            case "live" -> System.out.println("live");
            case "watermark" -> { } // "complete_as_of": what a clerk should see
            case "cut" -> System.err.println("fell behind: " + json);
            default -> { } // windows may say more one day
        }
    }

    static void save(String token) throws IOException {
        Path fresh = Path.of(POSITION + ".new");
        Files.writeString(fresh, token);
        Files.move(fresh, POSITION, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
    }

    static Thread watch(InputStream body) {
        Thread watch = new Thread(() -> {
            try {
                while (System.nanoTime() - heard < SILENCE.toNanos()) Thread.sleep(500);
                body.close(); // ends readLine
            } catch (InterruptedException | IOException ended) {
                // the line ended by itself
            }
        });
        watch.setDaemon(true);
        watch.start();
        return watch;
    }
}
