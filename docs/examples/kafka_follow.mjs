// Holds a contract's records in memory, straight from Kafka, and counts that none is missing.
//
// node kafka_follow.mjs BOOTSTRAP TOPIC: to the topic's end, then says what it holds. Takes kafkajs.

import { Kafka, logLevel } from 'kafkajs';

const [bootstrap, topic] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING });

const records = new Map();      // key → { record, source, sequence }
const parts = new Map();        // partition → what its watermarks let us verify

function take(part, message) {
  // Until a first watermark was met, or where compaction has been, nothing can be counted.
  if (Number(message.offset) !== part.next) part.thinned = true;
  part.next = Number(message.offset) + 1;
  const kind = String(message.headers.ce_type);
  if (kind === 'levelsync.watermark') verify(part, JSON.parse(message.value));
  else if (!kind.startsWith('levelsync.')) {            // fences and what may come
    part.counted += 1;
    enter(message);
  }
}

function verify(part, mark) {
  if (part.stream && mark.stream !== part.stream) throw Error('the topic was made anew');
  const follows = mark.number === part.number + 1 && [part.counted, -1].includes(mark.count);
  if (mark.number <= part.number || (!part.thinned && !follows)) {
    throw Error(`expected ${mark.count} events before watermark ${mark.number}, got ${part.counted}`);
  }
  Object.assign(part, { stream: mark.stream, number: mark.number, time: mark.time });
  part.counted = 0;
  part.thinned = false;
}

function enter({ value, headers }) {
  const key = String(headers.ce_subject);
  const source = String(headers.ce_source);
  const sequence = String(headers.ce_sequence);
  const held = records.get(key);
  if (held && held.source === source && sequence <= held.sequence) return;    // told again, or older
  records.set(key, { record: value && JSON.parse(value), source, sequence }); // null: deleted
}

const admin = kafka.admin();
await admin.connect();
for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
  const empty = { counted: 0, number: 0, time: 0, stream: '', thinned: true };
  parts.set(partition, { ...empty, next: Number(low), end: Number(high) });
}
await admin.disconnect();

// kafkajs reads in groups only. This one is never committed: it begins at the beginning each time.
const consumer = kafka.consumer({ groupId: `window-system-${process.pid}` });
await consumer.connect();
await consumer.subscribe({ topics: [topic], fromBeginning: true });
await new Promise((resolve, reject) => {
  const done = () => [...parts.values()].every((part) => part.next >= part.end);
  consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      try {
        const part = parts.get(batch.partition);
        for (const message of batch.messages) take(part, message);
        if (done()) resolve();
      } catch (error) {
        reject(error);
      }
    },
  });
  if (done()) resolve();
});
await consumer.disconnect();

const count = [...records.values()].filter(({ record }) => record).length;
const time = Math.min(...[...parts.values()].map((part) => part.time));
console.log(`${count} records, complete as of ${new Date(time / 1000).toISOString()}`);
