// The words of the page in both languages; everything else comes from the contracts themselves.

const zh = {
  title: "数据窗口",
  skip: "跳到查询",
  views: "页面",
  viewLookup: "查询",
  viewState: "数据状况",
  viewCorrections: "校核纠错",
  languages: "语言 Language",
  theme: "明暗",
  themeAuto: "自动",
  themeLight: "浅色",
  themeDark: "深色",
  yes: "是",
  no: "否",
  empty: "（空）",
  cancel: "取消",
  more: "显示更多",

  // The state of what is here.
  good: "数据完整、及时",
  late: "数据有延迟",
  bad: "数据可能不完整",
  wait: "正在准备数据",
  connecting: "正在连接窗口服务",
  stateGood: "完整、及时",
  stateLate: "有延迟",
  stateBad: "已停止",
  stateWait: "正在准备",
  stateRetrying: "正在重连",
  /** @param {string} titles */
  which: (titles) => `${titles}。`,
  whatToDo: "查看怎么办",
  oldest: "最旧一项",
  /** @param {string} age */
  ago: (age) => `${age}前`,
  /** @param {string} age */
  completeAgo: (age) => `截至 ${age}前完整`,
  notYet: "尚未完整",
  /** @param {string} age */
  away: (age) => `已 ${age}没有回应，以下是中断前的内容，可能已有变化。`,
  lineLost: "与窗口服务的连接已中断，正在自动重新连接。",
  lineBack: "与窗口服务的连接已恢复。",

  // Look-up.
  lookup: "查询",
  contract: "数据",
  by: "查询方式",
  find: "查询",
  number: "号码",
  hint: "输入号码后按回车键。查到的记录如有变化，会在此自动更新，变化之处会标出。",
  here: "本窗口的数据",
  /** @param {string} count */
  count: (count) => `${count} 条`,
  /** @param {string} fields */
  byThese: (fields) => `可按${fields}查询`,
  /** @param {string} what */
  found: (what) => `已查到：${what}`,
  /** @param {string} key */
  none: (key) => `没有号码为 ${key} 的记录。`,
  noneHint: "请核对号码和所选数据。记录若属于其他辖区，本窗口不显示。",
  /** @param {string} title @param {string} value */
  noneBy: (title, value) => `没有${title}为 ${value} 的记录。`,
  /** @param {string} count @param {string} title @param {string} value */
  several: (count, title, value) => `${title}为 ${value} 的记录共 ${count} 条`,
  /** @param {string} count @param {string} title @param {string} value */
  severalMore: (count, title, value) => `${title}为 ${value} 的记录，已显示 ${count} 条`,
  back: "返回结果列表",
  noneRefused: "此号码最近送来的内容不符合合同，未予收录。",
  gone: "此记录已被删除，或已迁出本辖区。",
  goneHint: "不再显示其内容。",
  source: "来源",
  changedAt: "变更于",
  completeAs: "完整截至",
  unknown: "未知",
  was: "原",
  /** @param {string} fields */
  justChanged: (fields) => `此记录刚刚变更：${fields}`,
  refused: "最近一次变更不符合合同，未予显示。以下是此前的内容。",
  /** @param {string} what */
  refusedWhere: (what) => `问题出在：${what}`,
  history: "变更记录",
  /** @param {string} since */
  historySince: (since) => `可追溯到 ${since}。更早的变更不在本窗口。`,
  historyNone: "在可追溯的范围内没有变更。",
  historyFirst: "可追溯的最早内容",
  historyDelete: "被删除",
  historySame: "内容未变",
  to: "改为",
  print: "打印",
  wrong: "此处有误…",
  /** @param {string} who @param {string} purpose @param {string} at */
  printed: (who, purpose, at) => `打印：${who}　用途：${purpose}　时间：${at}`,

  // Live changes.
  changes: "实时变更",
  pause: "暂停",
  resume: "继续",
  /** @param {string} count */
  pausedWith: (count) => `已暂停，其间有 ${count} 条变更`,
  filter: "只看",
  all: "全部",
  quiet: "暂无变更。有变更时会立即出现在这里。",
  put: "更新",
  delete: "删除",
  gap: "连接中断期间的变更未列在此处；数据本身是完整的。",

  // The state of the data.
  state: "数据状况",
  stateIntro: "过去一小时，每 10 秒记一次：数据完整截至多久以前。越低越好；虚线是承诺。",
  records: "记录",
  promise: "承诺",
  arrival: "到窗",
  owner: "数源部门",
  /** @param {number} ms */
  milliseconds: (ms) => `${ms} 毫秒`,
  unshown: "未予显示的变更",
  signed: "签名",
  /**
   * @param {"proven" | "unsigned" | "untrusted" | "stopped"} state
   * @param {string[]} by
   */
  signedBy: (state, by) =>
    ({ proven: `已验证（${by.join("、")}）`, unsigned: "未签名", untrusted: "签名方不在信任名单内", stopped: "验证未通过" })[state],
  doUnproven:
    "这项数据与签名不符，可能被人改动过，已停止更新；之前显示的内容也请核实后再用。请立即通知系统管理员，查明原因后再恢复。在服务器上运行：",
  sunset: "此版本提供至",
  minutesAgo: "分钟前",
  chartNow: "现在",
  bandStopped: "停止",
  bandAway: "重连",
  bandUnknown: "无记录",
  nothing: "暂无数据。",
  /** @param {string} title @param {string} worst @param {string} promise */
  chart: (title, worst, promise) => `${title}，过去一小时：最旧时 ${worst}，承诺 ${promise}。`,
  /** @param {string} length */
  chartLate: (length) => `超出承诺共 ${length}。`,
  chartKept: "一直符合承诺。",
  /** @param {string} length */
  chartDown: (length) => `停止或重连共 ${length}。`,
  /** @param {string} length */
  chartUnknown: (length) => `没有记录共 ${length}。`,
  figures: "逐段数字",
  from: "时段",
  worst: "最旧",
  happened: "变更数",
  during: "状况",
  doStopped: "这项数据已停止更新，已查到的内容停留在上面的时间，之后的变更还不知道。请通知系统管理员，由其在服务器上运行：",
  doStoppedMore: "说明会写明原因和解决办法。若是数目不符或上级主题被重建，运行：",
  doRetrying: "与上级或本地 Kafka 的连接暂时中断，正在自动重试，恢复后不会缺数据。若超过几分钟，请通知系统管理员检查网络。",
  doLate: "数据仍可查询，但最近的变更可能还没到。通常会自动恢复；若持续几分钟，请通知系统管理员。",
  doWait: "数据正在首次送达，完成后会显示完整截至的时间。在此之前，查不到不等于没有。",
  doRefused: "有变更不符合合同，未予显示；此前的内容仍在。数源部门更正后会自动显示。",
  noCharts: "图表暂时不可用。",

  // Corrections.
  corrections: "校核纠错",
  correctionsIntro: "在查到的记录上按“此处有误”提出。数源部门受理并答复后，状态在此自动更新。",
  correctionsNone: "没有符合条件的纠错。",
  correctionsAll: "全部状态",
  filed: "提出时间",
  where: "记录",
  change: "更正内容",
  status: "状态",
  sent: "已发出",
  received: "已受理",
  accepted: "已采纳",
  rejected: "未采纳",
  overdue: "已超期",
  open: "待答复",
  /** @param {string} day */
  due: (day) => `应于 ${day}前答复`,
  /** @param {string} day */
  dueWas: (day) => `应于 ${day}前答复，尚未答复`,
  sentMore: "等待数源部门受理",
  evidenceIs: "依据",
  noteIs: "答复",
  /** @param {string} who */
  filedBy: (who) => `由 ${who} 提出`,
  show: "查看记录",
  ofThis: "本记录的纠错",
  proposeTitle: "提出纠错",
  proposeIntro: "说明哪一项有误、应为何值、依据是什么。数据由数源部门核实后更正，窗口不直接修改。",
  field: "有误的项目",
  seen: "现在的内容",
  proposed: "应为",
  shouldBeEmpty: "应为空",
  choose: "请选择",
  evidence: "依据",
  evidenceHint: "例如：居民出示的户口簿、身份证，或现场核实的情况。",
  submit: "提出",
  submitting: "正在提出…",
  /** @param {string} field */
  submitted: (field) => `纠错已提出：${field}`,
  /** @param {string} state @param {string} field */
  answered: (state, field) => `纠错有了结果：${field}，${state}`,
  needField: "请选择有误的项目。",
  needProposed: "请填写应为何值。",
  needEvidence: "请写明依据。",
  same: "与现在的内容相同，无需更正。",
  /** @param {number} most */
  tooLong: (most) => `最多 ${most} 个字。`,
  /** @param {number} least */
  tooShort: (least) => `至少 ${least} 个字。`,
  badForm: "格式不符合合同的规定，请核对。",
  badNumber: "请填写数字。",
  badWhole: "请填写整数。",
  /** @param {string} least */
  tooSmall: (least) => `不能小于 ${least}。`,
  /** @param {string} most */
  tooLarge: (most) => `不能大于 ${most}。`,
  /** @param {number} places */
  tooFine: (places) => `小数点后最多 ${places} 位。`,
  /** @param {number} digits */
  tooManyDigits: (digits) => `最多 ${digits} 位数字。`,
  badDate: "请填写日期。",
  composed: "由多项组成的内容不能在此更正，请联系数源部门。",

  // Who reads.
  loginTitle: "请先登录",
  loginAgain: "登录已过期，请重新登录",
  loginAgainMore: "已填写的内容都还在。",
  loginMore: "登录后才能查询。每次查询都会留下记录。",
  token: "访问口令",
  enter: "登录",
  oidc: "使用单位账号登录",
  or: "或者",
  oidcMore: "在打开的页面登录后，回到这里即可。",
  badToken: "口令不正确，请核对后再试。",
  noLogin: "本窗口没有设置登录方式，请联系系统管理员。",
  leave: "退出",
  left: "已退出登录。",
  reader: "当前用户",
  purpose: "用途",
  machine: "本机",
  machinePurpose: "本机使用",

  // What went wrong.
  error0: "窗口服务没有回应。内容都还在，请稍后再试。",
  error400: "窗口服务不接受这个查询，请核对填写的内容。",
  error403: "您没有做这件事的权限。如有需要，请联系系统管理员。",
  error404: "没有找到，或您没有查看的权限。",
  error409: "现在不能办理，原因如下。",
  error422: "窗口服务不接受填写的内容，请核对。",
  error429: "操作过于频繁，请稍等片刻再试。",
  error500: "窗口服务出错了。请稍后再试；若反复出现，请通知系统管理员。",
};

/** @type {typeof zh} */
const en = {
  title: "Data window",
  skip: "Skip to look-up",
  views: "Pages",
  viewLookup: "Look-up",
  viewState: "State of the data",
  viewCorrections: "Corrections",
  languages: "语言 Language",
  theme: "Light or dark",
  themeAuto: "Auto",
  themeLight: "Light",
  themeDark: "Dark",
  yes: "Yes",
  no: "No",
  empty: "(empty)",
  cancel: "Cancel",
  more: "Show more",

  good: "Complete and fresh",
  late: "Data is late",
  bad: "Data may be incomplete",
  wait: "Data is on its way",
  connecting: "Connecting to the window",
  stateGood: "Complete and fresh",
  stateLate: "Late",
  stateBad: "Stopped",
  stateWait: "On its way",
  stateRetrying: "Reconnecting",
  which: (titles) => `${titles}.`,
  whatToDo: "What to do",
  oldest: "The oldest is",
  ago: (age) => `${age} ago`,
  completeAgo: (age) => `complete as of ${age} ago`,
  notYet: "not complete yet",
  away: (age) => `No answer for ${age}; what you see is from before and may have changed.`,
  lineLost: "The connection to the window is lost; trying again by itself.",
  lineBack: "The connection to the window is back.",

  lookup: "Look-up",
  contract: "Data",
  by: "Search by",
  find: "Look up",
  number: "Number",
  hint: "Type a number and press Enter. A record found here updates itself, and what changed is marked.",
  here: "Data at this window",
  count: (count) => `${count} records`,
  byThese: (fields) => `by ${fields.toLowerCase()}`,
  found: (what) => `Found: ${what}`,
  none: (key) => `There is no record with the number ${key}.`,
  noneHint: "Check the number and the data chosen. Records of other divisions are not shown here.",
  noneBy: (title, value) => `There is no record whose ${title.toLowerCase()} is ${value}.`,
  several: (count, title, value) => `${count} records whose ${title.toLowerCase()} is ${value}`,
  severalMore: (count, title, value) =>
    `The first ${count} records whose ${title.toLowerCase()} is ${value}`,
  back: "Back to the list",
  noneRefused: "What came of this number last breaks the contract and was not taken in.",
  gone: "This record was deleted, or has left this division.",
  goneHint: "What it held is no longer shown.",
  source: "Source",
  changedAt: "Changed",
  completeAs: "Complete as of",
  unknown: "unknown",
  was: "was",
  justChanged: (fields) => `This record has just changed: ${fields}`,
  refused: "The latest change breaks the contract and is not shown. This is what was before.",
  refusedWhere: (what) => `What is wrong: ${what}`,
  history: "What changed",
  historySince: (since) => `As far back as ${since}. Earlier changes are not kept here.`,
  historyNone: "Nothing changed as far back as is known here.",
  historyFirst: "The earliest known here",
  historyDelete: "Deleted",
  historySame: "Sent again unchanged",
  to: "to",
  print: "Print",
  wrong: "Something is wrong…",
  printed: (who, purpose, at) => `Printed by ${who}, for ${purpose}, ${at}`,

  changes: "Live changes",
  pause: "Pause",
  resume: "Go on",
  pausedWith: (count) => `Paused; ${count} changes meanwhile`,
  filter: "Show",
  all: "All",
  quiet: "No changes yet. They appear here the moment they happen.",
  put: "change",
  delete: "deleted",
  gap: "Changes made while the connection was lost are not listed; the data itself is complete.",

  state: "State of the data",
  stateIntro:
    "The last hour, a sample every 10 seconds: how long ago the data was complete. Lower is better; the dashed line is the promise.",
  records: "Records",
  promise: "Promise",
  arrival: "Arrival",
  owner: "Owner",
  milliseconds: (ms) => `${ms} ms`,
  unshown: "Changes not shown",
  signed: "Signature",
  /**
   * @param {"proven" | "unsigned" | "untrusted" | "stopped"} state
   * @param {string[]} by
   */
  signedBy: (state, by) =>
    ({ proven: `verified (${by.join(", ")})`, unsigned: "none", untrusted: "by a key not trusted here", stopped: "does not hold" })[state],
  doUnproven:
    "What came is not what was signed: somebody may have changed it. It is not updated any more; check what is shown before you rely on it. Tell the administrator at once. On the server:",
  sunset: "This version ends",
  minutesAgo: "min ago",
  chartNow: "now",
  bandStopped: "Stopped",
  bandAway: "Away",
  bandUnknown: "Not known",
  nothing: "No data yet.",
  chart: (title, worst, promise) =>
    `${title}, the last hour: at worst ${worst} old, promised ${promise}.`,
  chartLate: (length) => `Later than promised for ${length} in all.`,
  chartKept: "The promise was kept throughout.",
  chartDown: (length) => `Stopped or reconnecting for ${length} in all.`,
  chartUnknown: (length) => `Nothing is known of ${length} in all.`,
  figures: "As figures",
  from: "From",
  worst: "Oldest",
  happened: "Changes",
  during: "State",
  doStopped:
    "This data is no longer updated. What was found stays as of the time above; later changes are not known. Tell the administrator, who runs on the server:",
  doStoppedMore:
    "It says why and what to do. Where a count did not match or a topic above was made again, run:",
  doRetrying:
    "The line to the level above or to the local Kafka is down; it is tried again by itself and nothing will be missing. If it lasts for minutes, tell the administrator to look at the network.",
  doLate:
    "Data can still be looked up, but the latest changes may not be here yet. This usually mends itself; if it lasts for minutes, tell the administrator.",
  doWait:
    "The data is arriving for the first time. Until it is complete, not found does not mean that there is none.",
  doRefused:
    "Some changes break the contract and are not shown; what was before still is. They appear by themselves once the owner has mended them.",
  noCharts: "Charts are not available at the moment.",

  corrections: "Corrections",
  correctionsIntro:
    'Propose one with the button "Something is wrong" on a record. Its state here follows what the owner does.',
  correctionsNone: "There are no such corrections.",
  correctionsAll: "Every state",
  filed: "Proposed",
  where: "Record",
  change: "Correction",
  status: "State",
  sent: "Sent",
  received: "Received",
  accepted: "Accepted",
  rejected: "Rejected",
  overdue: "Overdue",
  open: "Not answered",
  due: (day) => `answer due by ${day}`,
  dueWas: (day) => `answer was due by ${day}`,
  sentMore: "waits for the owner to receive it",
  evidenceIs: "Evidence",
  noteIs: "Answer",
  filedBy: (who) => `by ${who}`,
  show: "Show the record",
  ofThis: "Corrections of this record",
  proposeTitle: "Propose a correction",
  proposeIntro:
    "Say which field is wrong, what it should be and how you know. The owner checks and corrects it; nothing is changed here.",
  field: "The wrong field",
  seen: "What it says now",
  proposed: "It should be",
  shouldBeEmpty: "It should be empty",
  choose: "Choose",
  evidence: "Evidence",
  evidenceHint: "For example: the household register or identity card shown, or what was seen on the spot.",
  submit: "Propose",
  submitting: "Proposing…",
  submitted: (field) => `Correction proposed: ${field}`,
  answered: (state, field) => `A correction was answered: ${field}, ${state}`,
  needField: "Choose the field that is wrong.",
  needProposed: "Fill in what it should be.",
  needEvidence: "Say how you know.",
  same: "That is what it says now.",
  tooLong: (most) => `At most ${most} characters.`,
  tooShort: (least) => `At least ${least} characters.`,
  badForm: "This is not of the form the contract asks for; check it.",
  badNumber: "Fill in a number.",
  badWhole: "Fill in a whole number.",
  tooSmall: (least) => `Not less than ${least}.`,
  tooLarge: (most) => `Not more than ${most}.`,
  tooFine: (places) => `At most ${places} digits after the point.`,
  tooManyDigits: (digits) => `At most ${digits} digits.`,
  badDate: "Fill in a date.",
  composed: "A field made of several parts cannot be corrected here; ask the owner.",

  loginTitle: "Log in first",
  loginAgain: "Your session has ended; log in again",
  loginAgainMore: "What you typed is still here.",
  loginMore: "Log in to look things up. Every look-up is written down.",
  token: "Access token",
  enter: "Log in",
  oidc: "Log in with your office account",
  or: "Or",
  oidcMore: "Log in on the page that opens, then come back here.",
  badToken: "The token is not right; check it and try again.",
  noLogin: "No way to log in is set up at this window; ask the administrator.",
  leave: "Log out",
  left: "You have logged out.",
  reader: "Reader",
  purpose: "Purpose",
  machine: "This machine",
  machinePurpose: "at this machine",

  error0: "The window does not answer. Nothing you typed is lost; try again in a moment.",
  error400: "The window does not accept this; check what you filled in.",
  error403: "You may not do this. Ask the administrator if you should.",
  error404: "Not found, or not for you to see.",
  error409: "This cannot be done now, for this reason:",
  error422: "The window does not accept what was filled in; check it.",
  error429: "Too many requests; wait a moment and try again.",
  error500: "The window failed. Try again in a moment; if it happens again, tell the administrator.",
};

/** @typedef {"zh" | "en"} Language */
/** @typedef {{[K in keyof typeof zh]: (typeof zh)[K] extends string ? K : never}[keyof typeof zh]} Word a word that needs nothing filled in */

const WORDS = { zh, en };

/** @type {Language} */
let chosen = remembered() ?? (navigator.language.startsWith("zh") ? "zh" : "en");

/** @returns {Language | null} */
function remembered() {
  try {
    const kept = localStorage.getItem("language");
    return kept === "zh" || kept === "en" ? kept : null;
  } catch {
    return null;
  }
}

export const language = () => chosen;

/** @param {Language} to */
export function chooseLanguage(to) {
  chosen = to;
  try {
    localStorage.setItem("language", to);
  } catch {
    // A kiosk may forbid it.
  }
}

/** @param {Word} word @returns {string} */
export const say = (word) => WORDS[chosen][word];

/** The words in which something is filled in. */
export const words = () => WORDS[chosen];

/**
 * @param {string} chinese
 * @param {string} english
 */
export const sayIn = (chinese, english) => (chosen === "zh" ? chinese : english);

/** Put the words into everything that is marked with what it says. */
export function speak() {
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-say]")) {
    node.textContent = say(/** @type {Word} */ (/** @type {HTMLElement} */ (node).dataset.say));
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    const word = /** @type {Word} */ (/** @type {HTMLElement} */ (node).dataset.label);
    node.setAttribute("aria-label", say(word));
  }
}

/** @param {number} status @returns {string} */
export function sayProblem(status) {
  const name = `error${status >= 500 ? 500 : status}`;
  const own = /** @type {Record<string, unknown>} */ (WORDS[chosen])[name];
  return typeof own === "string" ? own : say("error400");
}
