// The page of the window: what begins when it is opened.

import * as changes from "./changes.js";
import * as charts from "./charts.js";
import * as corrections from "./corrections.js";
import * as feed from "./feed.js";
import * as lookup from "./lookup.js";
import * as record from "./record.js";
import * as session from "./session.js";
import * as settings from "./settings.js";
import * as verdict from "./verdict.js";
import * as views from "./views.js";

for (const part of [verdict, views, lookup, record, changes, charts, corrections, settings]) part.begin();
await session.begin();
feed.begin();
