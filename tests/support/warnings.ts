/** What fairlead warns of while something runs in this process. */
import { configureSync, type LogRecord, resetSync } from "@logtape/logtape";

/** Runs with every warning that fairlead logs. */
export async function warned(during: (warnings: string[]) => Promise<void>): Promise<void> {
  const warnings: string[] = [];
  const keep = (record: LogRecord) => {
    warnings.push(record.message.map(String).join(""));
  };
  configureSync({
    reset: true,
    sinks: { keep },
    loggers: [
      { category: "fairlead", sinks: ["keep"], lowestLevel: "warning" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
    ],
  });
  try {
    await during(warnings);
  } finally {
    resetSync();
  }
}
