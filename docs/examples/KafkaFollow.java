import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Holds a contract's records in memory, straight from Kafka, and counts that none is missing.
 *
 * java -cp 'libs/*' KafkaFollow.java BOOTSTRAP TOPIC: to the topic's end, then says what it holds.
 */
public class KafkaFollow {
    record Held(byte[] record, String source, String sequence) {}

    static final Map<String, Held> records = new HashMap<>();

    /** One partition, and what its watermarks let us verify. */
    static class Part {
        long next, number, counted, time;
        String stream = "";
        boolean thinned = true; // until a first watermark was met, nothing can be counted

        void take(ConsumerRecord<byte[], byte[]> message) {
            if (message.offset() != next) thinned = true; // compaction: this is state, not history
            next = message.offset() + 1;
            String kind = header(message, "ce_type");
            if (kind.equals("levelsync.watermark")) {
                verify(message.partition(), new String(message.value(), StandardCharsets.UTF_8));
            } else if (!kind.startsWith("levelsync.")) { // fences and what may come
                counted++;
                enter(message);
            }
        }

        void verify(int partition, String mark) {
            long at = number(mark, "number"), count = number(mark, "count");
            String name = field(mark, "stream", "\"([^\"]*)\"");
            if (!stream.isEmpty() && !name.equals(stream))
                throw new IllegalStateException("partition " + partition + ": made anew");
            if (at <= number || !thinned && (at != number + 1 || count != counted && count != -1))
                throw new IllegalStateException("partition " + partition + ": expected " + count
                        + " events before watermark " + at + ", got " + counted);
            stream = name;
            number = at;
            time = number(mark, "time");
            counted = 0;
            thinned = false;
        }
    }

    static void enter(ConsumerRecord<byte[], byte[]> message) {
        String key = header(message, "ce_subject");
        String source = header(message, "ce_source"), sequence = header(message, "ce_sequence");
        Held held = records.get(key);
        if (held != null && held.source.equals(source) && sequence.compareTo(held.sequence) <= 0)
            return; // told again, or older than what is there
        records.put(key, new Held(message.value(), source, sequence)); // no value: deleted
    }

    static String header(ConsumerRecord<byte[], byte[]> message, String name) {
        Header found = message.headers().lastHeader(name);
        return found == null ? "" : new String(found.value(), StandardCharsets.UTF_8);
    }

    /** Of a watermark's JSON; take the JSON library you have. */
    static String field(String json, String name, String shape) {
        Matcher found = Pattern.compile("\"" + name + "\":" + shape).matcher(json);
        if (!found.find()) throw new IllegalStateException("no " + name + " in " + json);
        return found.group(1);
    }

    static long number(String json, String name) {
        return Long.parseLong(field(json, name, "(-?\\d+)"));
    }

    public static void main(String[] args) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("isolation.level", "read_committed");
        settings.put("enable.auto.commit", "false");
        settings.put("allow.auto.create.topics", "false");
        settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
        settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            Map<TopicPartition, Part> parts = new HashMap<>();
            consumer.partitionsFor(args[1]).forEach(
                    info -> parts.put(new TopicPartition(args[1], info.partition()), new Part()));
            List<TopicPartition> places = new ArrayList<>(parts.keySet());
            consumer.assign(places);
            consumer.seekToBeginning(places);
            Map<TopicPartition, Long> ends = consumer.endOffsets(places);
            while (places.stream().anyMatch(each -> consumer.position(each) < ends.get(each)))
                for (ConsumerRecord<byte[], byte[]> message : consumer.poll(Duration.ofSeconds(1)))
                    parts.get(new TopicPartition(message.topic(), message.partition())).take(message);
            long count = records.values().stream().filter(each -> each.record() != null).count();
            long time = parts.values().stream().mapToLong(part -> part.time).min().orElse(0);
            System.out.println(count + " records, complete as of "
                    + Instant.EPOCH.plus(time, ChronoUnit.MICROS));
        }
    }
}
